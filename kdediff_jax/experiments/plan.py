"""The sizes of a reproduction."""

from __future__ import annotations

import dataclasses
from typing import cast

from .records import PlanRecord


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes of a reproduction; `quick` is for a look, not for conclusions."""

    members: tuple[int, ...] = (20, 50, 100, 250, 500, 1000)
    tuning: tuple[int, ...] = tuple(range(1000, 1008))
    scoring: tuple[int, ...] = tuple(range(10))
    finalists: int = 6
    w2_every: int = 5
    num_cycles: int | None = None
    every_bandwidth: int = 1  # 2 takes every other one of the grid

    @classmethod
    def quick(cls) -> Plan:
        """Return a plan of two minutes at most, for experiments as `quick` returns them."""
        return cls(
            members=(20,),
            tuning=(1000, 1001),
            scoring=(0, 1),
            finalists=1,
            w2_every=10,
            num_cycles=20,
        )

    @property
    def variants(self) -> bool:
        """Whether the table has other samplers of the same posterior too, as `quick` has not."""
        return self.finalists > 1

    def of_members(self, members: tuple[int, ...] | None) -> Plan:
        """Return the plan for other ensemble sizes."""
        return self if members is None else dataclasses.replace(self, members=members)

    def as_record(self) -> PlanRecord:
        """Return the plan as plain numbers."""
        return cast(PlanRecord, dataclasses.asdict(self))
