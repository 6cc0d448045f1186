"""What an experiment consists of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from .._checks import count
from .._checks import seed as seed_in_range
from .._typing import Array, Float, Key
from ..analysis.base import AbstractAnalysis
from ..dynamics.base import AbstractDynamics
from ..ensemble.localisation import Localisation
from ..observations import AbstractObservation
from ..twin import twin_experiment
from . import RECOMMENDED
from .filters import Setting, build

InitialLaw: TypeAlias = Callable[[Key, int], tuple[Array, Array]]  # see `Experiment.initial`
DEFAULT_GRID = {
    "state_bandwidth": (0.1, 0.2, 0.5, 1.0, 2.0),
    "obs_bandwidth": (0.5, 1.0, 2.0, 5.0, 10.0),
}


class Expected(NamedTuple):
    """One published or measured score that the experiment should reproduce."""

    method: str
    members: int
    score: str
    value: float
    source: str


def published(
    score: str, members: tuple[int, ...], values: Mapping[str, tuple[float, ...]], source: str
) -> tuple[Expected, ...]:
    """Return a published table, values by method and ensemble size, as expected scores."""
    return tuple(
        Expected(method, size, score, value, source)
        for method, row in values.items()
        for size, value in zip(members, row, strict=True)
    )


def gaussian_start(mean: tuple[float, ...], std: float) -> InitialLaw:
    """Return (key, n) -> (truth [d], members [n d]), all drawn from N(mean, std^2 I)."""

    def initial(key: Key, n: int) -> tuple[Array, Array]:
        truth_key, member_key = jax.random.split(key)
        centre, d = jnp.asarray(mean), len(mean)
        return (
            centre + std * jax.random.normal(truth_key, (d,)),
            centre[None] + std * jax.random.normal(member_key, (n, d)),
        )

    return initial


class Twin(NamedTuple):
    """A truth [T d], its measurements [T m] and the initial members [n d]."""

    truth: Float[Array, "t d"]
    ys: Float[Array, "t m"]
    ensemble: Float[Array, "n d"]


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of `jit`
class Experiment:
    """A twin experiment: models, initial laws, filters' settings, expected scores.

    Attributes:
        name, summary: as in the catalogue.
        dynamics: the members' dynamics.
        truth_dynamics: the truth's.
        observation: the measurement.
        num_cycles: default number of cycles T.
        initial: (key, n) -> (true initial state [d], members [n d]).
        bandwidths: (state, measurement) bandwidths by ensemble size; the nearest size serves.
        burn_in: cycles left out of the scores.
        coordinates: names of the state's coordinates.
        shown: coordinates of the picture: the first as trajectory, one or two as ensembles.
        jitter, inflation: settings of SIR and EnKF.
        localisation: of LEnKPF and LETKF; None where every measurement concerns every coordinate.
        sir_resampling: scheme of SIR.
        grid: state and measurement bandwidths and tau_max that a sweep tries.
        tuning_grid: the part of it that `kdediff reproduce` tries; all of it if None.
        exact: (key, ys, n) -> draws [T n d] of the exact posterior, where it is known; otherwise
            the reference is a particle filter with `reference_particles`.
        reference_particles: 0 for no reference posterior.
        expected: scores to compare with.
    """

    name: str
    summary: str
    dynamics: AbstractDynamics
    truth_dynamics: AbstractDynamics
    observation: AbstractObservation
    num_cycles: int
    initial: InitialLaw
    bandwidths: Mapping[int, tuple[float, float]]
    coordinates: tuple[str, ...]
    shown: tuple[int, ...]
    burn_in: int = 0
    jitter: float = 0.0
    inflation: float = 1.0
    sir_resampling: str = "systematic"
    localisation: Localisation | None = None
    grid: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=lambda: DEFAULT_GRID)
    tuning_grid: Mapping[str, tuple[float, ...]] | None = None
    exact: Callable[[Key, Array, int], Array] | None = None
    reference_particles: int = 100_000
    expected: tuple[Expected, ...] = ()

    def twin(self, seed: int | Array, members: int, num_cycles: int, dtype: jnp.dtype) -> Twin:
        """Return truth, measurements and members of simulation `seed`.

        Truth and measurements depend on the seed alone, not on the number of members.
        """
        seed_in_range("seed", seed)
        count("members", members, 2)
        count("num_cycles", num_cycles)
        state_key, run_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1))
        x0, _ = self.initial(state_key, 2)
        _, ensemble = self.initial(state_key, members)
        x0, ensemble = x0.astype(dtype), ensemble.astype(dtype)
        truth, ys = twin_experiment(run_key, self.truth_dynamics, self.observation, x0, num_cycles)
        return Twin(truth, ys, ensemble)

    def bandwidths_for(self, members: int) -> tuple[float, float]:
        """Return the (state, measurement) bandwidths of the nearest ensemble size."""
        nearest = min(self.bandwidths, key=lambda n: abs(math.log(n / members)))
        return self.bandwidths[nearest]

    @property
    def recommended(self) -> str:
        """The filter to start with: it has nothing to tune."""
        return RECOMMENDED[self.localisation is not None]

    @property
    def default_filters(self) -> tuple[str, ...]:
        """What `kdediff run` compares: the recommended filter, the paper's and two classics."""
        kalman = "enkf" if self.localisation is None else "letkf"
        return self.recommended, "kde", kalman, "sir"

    def filter(self, name: str, members: int, **settings: Setting | None) -> AbstractAnalysis:
        """Return a filter with this experiment's settings, or with those given.

        Args:
            name: one of `FILTERS`.
            members: ensemble size, which chooses the bandwidths.
            **settings: what the filter uses, see `filters.settings_of`; None is not given.

        Raises:
            ValueError: an unknown filter, a setting that it does not use, a number out of range,
                or a localised filter where the experiment has no localisation.
        """
        return build(self, name, members, settings)
