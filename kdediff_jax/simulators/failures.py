"""Members that failed on the host: who, when and why."""

from __future__ import annotations

import logging
from collections import Counter
from typing import NamedTuple

import numpy as np

LOGGER = logging.getLogger("kdediff_jax")
FAR = "further from the other members than `Safeguards.far_member` allows"


class Failure(NamedTuple):
    """A member that took no part in a cycle's analysis.

    Attributes:
        cycle: counted from 0.
        member: its row in the ensemble.
        source: "dynamics" or "observation".
        reason: an exception's class and text, or what was wrong with the values.
    """

    cycle: int
    member: int
    source: str
    reason: str


class FailureLog:
    """The failures of one cycle.

    Args:
        cycle: its number.
        first: whether it is the first of a run, where an exception in every member is a fault of
            the simulator and is raised.
    """

    def __init__(self, cycle: int, first: bool) -> None:
        self.cycle, self.first = cycle, first
        self.found: dict[int, Failure] = {}

    def add(self, source: str, member: int, reason: str) -> None:
        """Note a failure; a member has one in a cycle."""
        self.found.setdefault(int(member), Failure(self.cycle, int(member), source, reason))

    def errors(self, source: str, members: np.ndarray, errors: dict[int, Exception]) -> None:
        """Note the exceptions of a request's rows.

        Raises:
            Exception: the first one, if every row of the first cycle has one.
        """
        if self.first and errors and len(errors) == len(members):
            error = errors[0]
            error.add_note(
                f"kdediff_jax: so ended the {source} of each of {len(set(members))} members in "
                f"cycle {self.cycle}, the first of this run"
            )
            raise error
        for row, error in errors.items():
            self.add(source, members[row], f"{type(error).__name__}: {error}")

    def close(self) -> tuple[Failure, ...]:
        """Return the failures in the order of members, after a line in the log."""
        failures = tuple(self.found[member] for member in sorted(self.found))
        if failures:
            (reason, times), *others = Counter(
                f"{each.source}: {each.reason}" for each in failures
            ).most_common()
            more = f" and {len(others)} other reasons" if others else ""
            LOGGER.warning(
                "cycle %d: %d members failed; %d of %s%s",
                self.cycle, len(failures), times, reason, more,
            )  # fmt: skip
        return failures
