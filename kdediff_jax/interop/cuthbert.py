"""A filter of this package as a filter of cuthbert, on a model of cuthbert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._checks import count, has_method
from .._typing import Array, Float, Key, numbers_to_leaves
from ..analysis.base import AbstractAnalysis
from ..analysis.outcome import AnalysisInfo
from ..numerics import centred, dot, triangular_root
from ..observations.base import AbstractObservation
from .gaussian import CorrelatedGaussian
from .package import module_of


class CuthbertState(NamedTuple):
    """State of a filter in cuthbert; what `cuthbert.filter` returns has a leading axis of times.

    Attributes:
        key: random key.
        ensemble: members [n d].
        model_inputs: what the model's functions are given.
        info: the scheme's report; before the first step one of a cycle without a measurement.
        predicted_ensemble: members before the measurement, for cuthbert's ensemble smoother.
    """

    key: Key
    ensemble: Float[Array, "*t n d"]
    model_inputs: Any
    info: AnalysisInfo
    predicted_ensemble: Float[Array, "*t n d"]

    @property
    def n_particles(self) -> int:
        """Number of members."""
        return self.ensemble.shape[-2]

    @property
    def mean(self) -> Float[Array, "*t d"]:
        """Mean of the members."""
        return jnp.mean(self.ensemble, axis=-2)

    @property
    def chol_cov(self) -> Float[Array, "*t d d"]:
        """Cholesky factor of the members' covariance."""

        def root(members: Float[Array, "n d"]) -> Float[Array, "d d"]:
            n, d = members.shape
            anomalies = centred(members) / (n - 1) ** 0.5
            return triangular_root(jnp.pad(anomalies, ((0, max(0, d - n)), (0, 0))))

        single = self.ensemble.ndim == 2
        return root(self.ensemble) if single else jax.vmap(root)(self.ensemble)


def cuthbert_filter(
    analysis: AbstractAnalysis,
    init_sample: Callable[[Key], Array],
    get_dynamics: Callable[[Any], Callable[[Array, Key], Array]],
    get_observations: Callable[[Any], tuple[Any, ...]],
    n_particles: int,
) -> Any:
    """Return a filter as cuthbert's `Filter`, for `cuthbert.filter` and online use.

    The functions are those of `cuthbert.ensemble_kalman.ensemble_kalman_filter.build_filter`. A
    measurement that is not Gaussian comes as an observation of this package. Their time is 0, as
    cuthbert has none: what depends on it reads it from the model's inputs. A state has no
    `log_normalizing_constant`. With a Kalman filter it fits cuthbert's ensemble smoother; a filter
    that resamples puts members in other places than those that they came from.

        >>> import cuthbert  # doctest: +SKIP
        >>> kalman = kd.interop.cuthbert_filter(  # doctest: +SKIP
        ...     kd.ETKF(), init_sample, get_dynamics, get_observations, n_particles=100
        ... )
        >>> states = cuthbert.filter(  # doctest: +SKIP
        ...     kalman, inputs, kalman.init_prepare(key=key), key=key
        ... )

    Args:
        analysis: the scheme.
        init_sample: key -> x [d] of one member before the first step.
        get_dynamics: inputs -> (x [d], key) -> x one step later.
        get_observations: inputs -> (h, root of R [m m], [m] or a number, y [m]), or inputs ->
            (observation of this package, y); NaN components of y are missing.
        n_particles: number of members.

    Returns:
        `cuthbert.inference.Filter`, not associative, with `CuthbertState` as its state.

    Raises:
        ImportError: cuthbert is not installed.
        TypeError: no scheme, or a number of members that is no int.
        ValueError: fewer than two members. When run: no key.
    """
    has_method("analysis", analysis, "analyse")
    count("n_particles", n_particles, 2)
    scheme = numbers_to_leaves(analysis)
    model = _Model(scheme, init_sample, get_dynamics, get_observations, n_particles)
    kind = module_of("cuthbert", "cuthbert.inference", "cuthbert_filter").Filter
    return kind(
        init_prepare=model.init_prepare,
        filter_prepare=model.filter_prepare,
        filter_combine=model.filter_combine,
        associative=False,
    )


class _Model(NamedTuple):
    """What a filter is made of, and the three functions that cuthbert calls."""

    analysis: AbstractAnalysis
    init_sample: Callable[[Key], Array]
    get_dynamics: Callable[[Any], Callable[[Array, Key], Array]]
    get_observations: Callable[[Any], tuple[Any, ...]]
    n_particles: int

    def init_prepare(self, *, key: Key | None = None) -> CuthbertState:
        """Draw the members before the first step."""
        draw_key, own = jax.random.split(_given(key))
        ensemble = jax.vmap(self.init_sample)(jax.random.split(draw_key, self.n_particles))
        return _without_measurement(own, ensemble, None)

    def filter_prepare(self, model_inputs: Any, *, key: Key | None = None) -> CuthbertState:
        """Return the inputs as a state, whose members are yet to come."""
        own = _given(key)
        shape = jax.eval_shape(self.init_sample, own)
        ensemble = jnp.zeros((self.n_particles, *shape.shape), shape.dtype)
        return _without_measurement(own, ensemble, jax.tree.map(jnp.asarray, model_inputs))

    def filter_combine(self, before: CuthbertState, now: CuthbertState) -> CuthbertState:
        """Return the state after the inputs' step and measurement."""
        step_key, key = jax.random.split(now.key)
        step = self.get_dynamics(now.model_inputs)
        forecast = jax.vmap(step)(before.ensemble, jax.random.split(step_key, self.n_particles))
        observation, y = measurement_of(self.get_observations(now.model_inputs))
        ensemble, info = self.analysis(key, forecast, y, observation)
        return CuthbertState(now.key, ensemble, now.model_inputs, info, forecast)


def _without_measurement(key: Key, ensemble: Float[Array, "n d"], inputs: Any) -> CuthbertState:
    """Return a state whose members have equal weights."""
    number, none = ensemble.dtype.type, jnp.zeros((), jnp.int32)
    report = AnalysisInfo(
        ess=jnp.asarray(number(ensemble.shape[0])),
        num_steps=none,
        num_rejected=none,
        ok=jnp.asarray(True),
        num_masked=none,
        num_gross_errors=none,
        normalised_innovation=jnp.asarray(number(jnp.nan)),
        mean=jnp.mean(ensemble, axis=0),
        num_unreached=none,
    )
    return CuthbertState(key, ensemble, inputs, report, ensemble)


def _given(key: Any) -> Key:
    if key is None:
        raise ValueError("key: expected a random key, got None")
    return key


def measurement_of(given: tuple[Any, ...]) -> tuple[AbstractObservation, Array]:
    """Return an observation and y; Gaussian noise is stated by a root of its covariance."""
    if len(given) == 2:
        has_method("observation", given[0], "sample")
        return given[0], jnp.asarray(given[1])
    if len(given) != 3:
        raise ValueError(
            "get_observations: expected (h, root of R, y) or (observation, y), got "
            f"{len(given)} values"
        )
    h, root, y = given[0], jnp.asarray(given[1]), jnp.asarray(given[2])
    if root.ndim < 2:
        return CorrelatedGaussian(h, jnp.diag(jnp.broadcast_to(root**2, y.shape))), y
    return CorrelatedGaussian(h, dot(root, root.T)), y
