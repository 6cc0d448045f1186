"""The state as named fields and as one vector, and the way between them.

    space = kd.StateSpace({
        "temperature": kd.Field({"lat": lats, "lon": lons}, units="K"),
        "forcing": kd.Field(units="W m-2"),
    })
    x = space.ravel({"temperature": t, "forcing": f})          # [d]
    fields = space.unravel(result.mean)                         # {"temperature": [t lat lon], ...}
    observation = kd.GaussianObservation(space.select("temperature", lat=50.0), std=1.0)
    space.label(731)                                            # temperature[lat=50, lon=10] (K)

The filters keep to vectors [d] and ensembles [n d]: names cost nothing where the work is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import choice, floating
from .._typing import Array, Float, Number
from .._words import counted
from ..dynamics.base import AbstractDynamics
from ..ensemble.localisation import Localisation
from ..observations.base import AbstractObservation
from ..observations.operators import Select
from . import models
from .field import Field


class StateSpace(eqx.Module):
    """Fields by name, in the order of their coordinates in the vector.

    Args:
        fields: `Field` by name.

    Raises:
        TypeError: something other than a dict of fields.
        ValueError: no field.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    fields: tuple[Field, ...]
    structure: Any = eqx.field(static=True)

    def __init__(self, fields: Mapping[str, Field], *, structure: Any = None) -> None:
        if not isinstance(fields, Mapping):
            raise TypeError(f"fields: expected a dict of Field by name, got {fields!r}")
        for name, each in fields.items():
            if not isinstance(name, str) or not isinstance(each, Field):
                raise TypeError(f"fields: expected Field by name, got {name!r}: {each!r}")
        if not fields:
            raise ValueError("fields: expected at least one, got none")
        self.names = tuple(fields)
        self.fields = tuple(fields.values())
        self.structure = structure

    @staticmethod
    def like(example: Any) -> StateSpace:
        """Return the space of states that have the structure and shapes of a pytree.

        Its fields are called after their places (`ocean.salinity`), their dimensions by the number
        of the axis, with the indices as coordinates.

        Raises:
            TypeError: leaves that are no floating arrays.
            ValueError: no leaf.
        """
        leaves, structure = jax.tree_util.tree_flatten_with_path(example)
        fields = {}
        for path, leaf in leaves:
            name = jax.tree_util.keystr(path, simple=True, separator=".") or "state"
            shape = floating(name, leaf).shape
            fields[name] = Field({f"axis_{k}": size for k, size in enumerate(shape)})
        return StateSpace(fields, structure=structure)

    @property
    def size(self) -> int:
        """Number of coordinates d."""
        return sum(field.size for field in self.fields)

    def __getitem__(self, name: str) -> Field:
        """Return a field by its name; ValueError where there is none."""
        choice("field", name, self.names)
        return self.fields[self.names.index(name)]

    def ravel(self, state: Any) -> Float[Array, "*s d"]:
        """Return a state, or an ensemble or a series of them, as coordinates along the last axis.

        Args:
            state: arrays by field's name, or the pytree of `like`; all with the same leading axes,
                if any, before those of the field.

        Raises:
            ValueError: other names or another structure, shapes that do not fit.
            TypeError: a field that is no floating array.
        """
        leaves = self._leaves(state)
        arrays = [floating(n, v) for n, v in zip(self.names, leaves, strict=True)]
        lead = arrays[0].shape[: arrays[0].ndim - len(self.fields[0].shape)]
        for name, field, array in zip(self.names, self.fields, arrays, strict=True):
            if array.shape != (*lead, *field.shape):
                raise ValueError(
                    f"{name}: expected shape {(*lead, *field.shape)}, got {array.shape}"
                )
        return jnp.concatenate([a.reshape(*lead, -1) for a in arrays], axis=-1)

    def unravel(self, x: Float[Array, "*s d"]) -> Any:
        """Return the fields of coordinates along the last axis, as `ravel` takes them.

        Raises:
            ValueError: another number of coordinates.
        """
        x = floating("x", x)
        if x.ndim == 0 or x.shape[-1] != self.size:
            raise ValueError(f"x: expected {counted(self.size, 'coordinate')}, got shape {x.shape}")
        found = {
            name: x[..., start : start + field.size].reshape(*x.shape[:-1], *field.shape)
            for name, field, start in zip(self.names, self.fields, self._starts(), strict=True)
        }
        return found if self.structure is None else self.structure.unflatten(found.values())

    def columns(self, name: str, **where: float | Sequence[float]) -> tuple[int, ...]:
        """Return the coordinates of a field, of all of it or of the places given.

        Args:
            name: of the field.
            where: by dimension, a coordinate or several.

        Raises:
            ValueError: a field, a dimension or a coordinate that is not there.
        """
        field, start = self[name], self._starts()[self.names.index(name)]
        return tuple((start + field.elements(where)).tolist())

    def select(self, name: str, **where: float | Sequence[float]) -> Select:
        """Return the operator that measures these coordinates. Arguments as `columns`."""
        return Select(self.columns(name, **where))

    def place(self, column: int) -> tuple[str, dict[str, float]]:
        """Return the field of a coordinate, and where in it, by dimension.

        Raises:
            ValueError: no such coordinate.
        """
        if not 0 <= column < self.size:
            raise ValueError(f"column: expected from 0 to {self.size - 1}, got {column}")
        k = int(np.searchsorted(self._starts(), column, side="right")) - 1
        field = self.fields[k]
        index = np.unravel_index(column - self._starts()[k], field.shape) if field.shape else ()
        at = {name: values[i] for (name, values), i in zip(field.dims, index, strict=True)}
        return self.names[k], at

    def label(self, column: int) -> str:
        """Return the name of a coordinate for plots and tables. Raises as `place`."""
        name, at = self.place(column)
        inside = ", ".join(f"{dim}={value:g}" for dim, value in at.items())
        units = self[name].units
        return name + (f"[{inside}]" if inside else "") + (f" ({units})" if units else "")

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all coordinates."""
        return tuple(self.label(column) for column in range(self.size))

    def positions(self, dims: Sequence[str], columns: Sequence[int] | None = None) -> np.ndarray:
        """Return where coordinates are [d k], for a `Localisation`.

        Args:
            dims: dimensions that are distances, in order.
            columns: whose; all by default.

        Raises:
            ValueError: a coordinate whose field lacks a dimension.
        """
        chosen = np.arange(self.size) if columns is None else np.asarray(columns, int)
        found = np.empty((chosen.size, len(dims)))
        for name, field, start in zip(self.names, self.fields, self._starts(), strict=True):
            here = (chosen >= start) & (chosen < start + field.size)
            if here.any() and not set(dims) <= set(field.names):
                raise ValueError(
                    f"dims: expected dimensions of {name}, {field.names}, got {tuple(dims)}"
                )
            if here.any():
                index = np.unravel_index(chosen[here] - start, field.shape)
                for k, dim in enumerate(dims):
                    axis = index[field.names.index(dim)]
                    found[here, k] = np.asarray(field.coordinates(dim))[axis]
        return found

    def localisation(
        self,
        dims: Sequence[str],
        measured: Sequence[int],
        radius: Number,
        *,
        period: Any = None,
    ) -> Localisation:
        """Return where the state and its measurements are.

        Args:
            dims: dimensions that are distances. Fields behind all others that have none of them
                have no place, see `Localisation`.
            measured: coordinates measured, such as `select(...).indices`, one a component.
            radius: as of `Localisation`, in the units of the coordinates.
            period: as of `Localisation`, one for all dimensions or one each.

        Raises:
            ValueError: a field without these dimensions before one that has them.
        """
        placed = self.size
        for field in reversed(self.fields):
            if set(dims) & set(field.names):
                break
            placed -= field.size
        where = self.positions(dims, range(placed))
        seen = self.positions(dims, measured)
        return Localisation(where, seen, radius, period, placeless=jnp.ones(self.size - placed))

    def dynamics(self, model: AbstractDynamics) -> models.FieldDynamics:
        """Return dynamics of vectors, of a model whose `step` takes and returns the fields."""
        return models.FieldDynamics(space=self, wrapped=model)  # pyright: ignore[reportCallIssue]

    def operator(self, function: Any) -> models.FieldOperator:
        """Return the operator of vectors, of a function from the fields to what is measured."""
        return models.FieldOperator(self, function)

    def observation(self, observation: AbstractObservation) -> models.FieldObservation:
        """Return the observation of vectors, of one whose `sample` takes the fields.

        It is a simulator and no more; what has additive noise is better said by `operator`:
        `GaussianObservation(space.operator(h), std)`.
        """
        return models.FieldObservation(self, observation)

    def _leaves(self, state: Any) -> list[Any]:
        if self.structure is not None:
            leaves, structure = jax.tree.flatten(state)
            if structure != self.structure:
                raise ValueError(f"state: expected {self.structure}, got {structure}")
            return leaves
        if not isinstance(state, Mapping) or set(state) != set(self.names):
            got = tuple(state) if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(f"state: expected the fields {self.names}, got {got}")
        return [state[name] for name in self.names]

    def _starts(self) -> list[int]:
        sizes = [field.size for field in self.fields]
        return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int).tolist()
