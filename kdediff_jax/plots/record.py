"""What figures of a file are drawn from: one shape for runs, fields and single filters."""

from typing import NamedTuple

import numpy as np

from .style import Points


class Grid(NamedTuple):
    """A field in the state: its first column, dimensions with their coordinates, its units."""

    start: int
    dims: tuple[tuple[str, Points], ...]
    units: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the field."""
        return tuple(len(values) for _, values in self.dims)

    @property
    def columns(self) -> range:
        """Its coordinates in the state."""
        return range(self.start, self.start + int(np.prod(self.shape, dtype=int)))


class Record(NamedTuple):
    """What a file holds of a run, by filter; what it does not hold is empty or None.

    Attributes:
        title: headline.
        cycles, times: number and model time of every cycle [t].
        filters: names.
        names: of the coordinates, where they have any; else they are those of `fields`.
        fields: grids by name.
        ensembles: [t n d] by filter; `means`, `spreads`: [t d].
        last: members of the last cycle [n d] by filter, where those of all are not there.
        truth: [t d]; `measurements`, of the coordinates themselves: [t d], NaN where there is none.
        reference: draws of the exact posterior [t r d].
        info: arrays [t] by field of `AnalysisInfo`, by filter.
        members: ensemble size, where it is known.
        scores: the best score there is by filter, in words.
    """

    title: str
    cycles: np.ndarray
    times: Points
    filters: tuple[str, ...]
    names: tuple[str, ...]
    fields: dict[str, Grid]
    ensembles: dict[str, Points]
    last: dict[str, Points]
    means: dict[str, Points]
    spreads: dict[str, Points]
    truth: Points | None
    measurements: Points | None
    reference: Points | None
    info: dict[str, dict[str, np.ndarray]]
    members: int | None
    scores: dict[str, str]

    def only(self, name: str) -> "Record":
        """Return the part of one filter."""
        if name not in self.filters:
            raise ValueError(f"filter: expected one of {', '.join(self.filters)}, got {name!r}")
        parts = ("ensembles", "last", "means", "spreads", "info", "scores")
        kept = {p: {k: v for k, v in getattr(self, p).items() if k == name} for p in parts}
        return self._replace(filters=(name,), **kept)

    @property
    def size(self) -> int:
        """Number of coordinates; 0 where nothing of the state is there."""
        for each in (self.means, self.ensembles, self.last, self.spreads):
            if each:
                return next(iter(each.values())).shape[-1]
        return 0

    def label(self, column: int) -> str:
        """Return the name of a coordinate, as `StateSpace.label` has it."""
        if self.names:
            return self.names[column]
        for name, grid in self.fields.items():
            if column in grid.columns:
                index = np.unravel_index(column - grid.start, grid.shape) if grid.dims else ()
                places = zip(grid.dims, index, strict=True)
                inside = ", ".join(f"{dim}={values[i]:g}" for (dim, values), i in places)
                units = f" ({grid.units})" if grid.units else ""
                return name + (f"[{inside}]" if inside else "") + units
        return f"coordinate {column}"

    def field_label(self, name: str) -> str:
        """Return the name of a field with its dimensions and units: `temperature[lat, lon] (K)`."""
        grid = self.fields[name]
        inside = ", ".join(dim for dim, _ in grid.dims)
        units = f" ({grid.units})" if grid.units else ""
        return name + (f"[{inside}]" if inside else "") + units

    def columns(self, variable: str) -> list[int]:
        """Return the coordinates of a variable: a field, a coordinate's name, or its number."""
        if variable in self.fields:
            return list(self.fields[variable].columns)
        labels = [self.label(k) for k in range(self.size)]
        for k, label in enumerate(labels):
            if variable in (label, label.partition(" (")[0]):
                return [k]
        if variable.isdigit() and int(variable) < self.size:
            return [int(variable)]
        known = [*self.fields, *labels]
        shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
        raise ValueError(
            f"variable: expected a name or a number below {self.size}, got {variable!r}; "
            f"known: {shown}"
        )

    def moment(self, name: str, i: int) -> Points:
        """Return the members of a cycle [n d]."""
        if self.ensembles:
            return self.ensembles[name][i]
        if i != len(self.cycles) - 1:
            raise ValueError(
                f"cycle: expected {self.cycles[-1]}, the last, of which alone the file has members"
            )
        return self.last[name]

    def place(self, cycle: int | None) -> int:
        """Return the index of a cycle by its number in the file; negative ones from the end."""
        total = len(self.cycles)
        if cycle is None or -total <= cycle < 0:
            return (total - 1) if cycle is None else total + cycle
        found = np.flatnonzero(self.cycles == cycle)
        if not found.size:
            raise ValueError(
                f"cycle: expected {self.cycles[0]} to {self.cycles[-1]}, or from the end -1 to "
                f"-{total}, got {cycle}"
            )
        return int(found[0])
