"""Members that failed on the host: who, when and why."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

LOGGER = logging.getLogger("kdediff_jax")
FAR = "further from the other members than `Safeguards.far_member` allows"
KEPT = 250  # records of a run's first failures, and as many of its last
REASON = 600  # characters of a reason that are kept


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


class Failures(tuple[Failure, ...]):
    """The failures of a run: the first 250 and the last 250 of them, and how many there were.

    A tuple of `Failure` in the order of cycles. However long a run is, it does not grow further.

    Attributes:
        total: number of all failures, exact.
        counts: by source and kind, such as "dynamics: RuntimeError"; they add up to the total.
    """

    total: int
    counts: dict[str, int]

    def __new__(
        cls, kept: Iterable[Failure] = (), total: int | None = None, counts: Any = None
    ) -> Failures:
        """Return the failures given, all that there are unless a total says otherwise."""
        self = super().__new__(cls, kept)
        self.total = len(self) if total is None else total
        self.counts = dict(Counter(map(_kind, self)) if counts is None else counts)
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return what makes it again, of a copy or of a process elsewhere."""
        return tuple(self), self.total, self.counts

    def __repr__(self) -> str:
        """Return the records, and what is not among them."""
        left = self.total - len(self)
        return super().__repr__() + (f" and {left} more, see .counts" if left else "")

    def plus(self, found: tuple[Failure, ...]) -> Failures:
        """Return these and those of the next cycle."""
        if not found:
            return self
        counts = Counter(self.counts) + Counter(map(_kind, found))
        records = [*self, *(each._replace(reason=each.reason[:REASON]) for each in found)]
        kept = records if len(records) <= 2 * KEPT else records[:KEPT] + records[-KEPT:]
        return Failures(kept, self.total + len(found), counts)

    def as_notes(self) -> list[Any]:
        """Return what JSON can hold of them."""
        return [[list(each) for each in self], self.total, self.counts]

    @classmethod
    def of_notes(cls, notes: Any) -> Failures:
        """Return what `as_notes` wrote; none for None."""
        if notes is None:
            return cls()
        kept, total, counts = notes
        return cls((Failure(*each) for each in kept), total, counts)


def _kind(failure: Failure) -> str:
    """Return where it failed and how, without what differs between members."""
    return f"{failure.source}: {failure.reason.partition(':')[0]}"


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
