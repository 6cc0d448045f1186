r"""The covariance kernel's analysis, localised: every coordinate sees its own neighbourhood.

The likelihood is split as in `kdediff_jax.analysis.bridge`. Its Kalman share g moves coordinate j
by the ensemble transform of the measurements near it, whose precision is multiplied by the taper
rho_jk (LETKF). The rest weighs the moved members for each coordinate by itself,

    log w_i^(j) = (1 - g) sum_k rho_jk log p(y_k | x_i),

and the coordinate's reverse flow, which in one dimension is a monotone map, carries its members to
the weighted kernel density. Smooth in j, deterministic, and the identity where the weights are
equal: no member is lost, none is duplicated. Then the anomalies are rotated a little
(`kdediff_jax.analysis.rotation`): members that keep their order keep chance relations of higher
order, too. Measurement errors must be independent; the diagonal of R is used. With an infinite
radius the Kalman share is the ETKF and each coordinate's weights are the global ones.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .. import kde
from .._typing import Array, Bool, Float, Key, Scalar, like
from . import gains
from .bridge import CovarianceKernel
from .covariance_kernel import masked_noise
from .inflation import SamplingInflation
from .innovations import adapt
from .localisation import Localisation, reach
from .marginal import reweight
from .noise import Measurement
from .rotation import rotate, unimodal
from .shares import SHARES, choose, features
from .sites import gaussian_sites
from .transform import COORDINATES_AT_ONCE, decompose_near, transform

LOCAL_DOUBT = 0.5  # a common factor of a whole field: more components speak of it than of a state
WEIGHTS_COUNT = 4.0  # 1, 2 and 4 tried: the more, the closer to the errors is the spread


class Local(NamedTuple):
    """Analysis members before inflation, mean ESS, Kalman share, factor of each coordinate."""

    members: Float[Array, "n d"]
    ess: Scalar
    share: Scalar
    inflation: Float[Array, " d"]


def local_bridge(
    settings: CovarianceKernel,
    localisation: Localisation,
    key: Key,
    members: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    y: Float[Array, " m"],
    measurement: Measurement,
    width: Array | None,
) -> Local:
    """Return the localised analysis of a forecast; arguments as `bridge`."""
    n, d = members.shape
    m = y.shape[0]
    dtype = members.dtype
    taper = localisation.taper(d, m, dtype)
    measured = ~jnp.isnan(y)
    noise = jnp.diagonal(masked_noise(measurement.covariance, measured))
    rules = settings.surprise, LOCAL_DOUBT if settings.doubt is None else settings.doubt
    before = members
    members = adapt(before, alive, y, measurement, jnp.diag(noise), *rules, taper)
    predicted = measurement.predict(members)
    told, effective = y, noise
    if measurement.log_likelihood is not None:
        each = measurement.log_components(y, members, noise)
        told, effective = gaussian_sites(y, predicted, each, alive, noise)
    given = settings.kalman_share
    shares = jnp.asarray(SHARES if given is None else [given], dtype).reshape(-1)
    moved, freedom = _moves(members, predicted, told, effective, measurement, taper, shares)
    weigh = jax.vmap(lambda x, g: _log_weights(x, alive, y, measurement, noise, (1 - g) * taper))
    log_weights = weigh(moved, shares)  # share, coordinate, member
    sizes = jax.vmap(jax.vmap(kde.effective_sample_size))(log_weights)
    # as in `CovarianceKernel`, with d = 1: the flow of a coordinate is its own
    excess = 1 / sizes - 1 / jnp.sum(alive, dtype=dtype)
    average = jnp.mean(excess, axis=1)
    allowed = average <= like(members, settings.noise_budget)
    # differences are judged as in `CovarianceKernel`, by the noise of a whole neighbourhood
    near = jnp.mean(jnp.sum(localisation.among_state(d, dtype), axis=1))
    estimates = features(moved, log_weights, products=False)
    place = choose(estimates, near * average, allowed, like(members, settings.evidence))
    h = settings.width(n, 1, 1 - settings.target(n, 1)) if width is None else width
    analysis = lax.map(
        lambda c: reweight(c[0], c[1], like(members, h)),
        (moved[place].T, log_weights[place]),
        batch_size=COORDINATES_AT_ONCE,
    ).T
    turned = reach(taper, measured) * unimodal(analysis) * _sound(before, members)
    analysis = rotate(key, analysis, like(members, settings.rotation) * turned)
    factor = settings.inflation
    if isinstance(factor, SamplingInflation):
        factor = _sampling(factor, freedom, excess[place], n)
    factor = jnp.broadcast_to(like(members, factor), (d,))
    return Local(analysis, jnp.mean(sizes[place]), shares[place], factor)


def _moves(
    members: Float[Array, "n d"],
    predicted: Float[Array, "n m"],
    y: Float[Array, " m"],
    noise: Float[Array, " m"],
    measurement: Measurement,
    taper: Float[Array, "d m"],
    shares: Float[Array, " g"],
) -> tuple[Float[Array, "g n d"], Float[Array, " d"]]:
    """Return the members after every Kalman share, and each coordinate's degrees of freedom."""
    measured = ~jnp.isnan(y)
    mean, middle = jnp.mean(members, axis=0), jnp.mean(predicted, axis=0)
    deviations = jnp.where(measured[None], predicted - middle[None], 0)
    innovation = jnp.where(measured, jnp.where(measured, y, 0) - middle, 0)

    def column(anomaly: Array, near: Array) -> tuple[Array, Scalar]:
        spectrum = decompose_near(deviations, innovation, near, noise)

        def at(share: Scalar) -> Array:
            increment, spread = transform(spectrum, anomaly[:, None], share)
            return (spread + increment[None])[:, 0]

        return jax.vmap(at)(shares), spectrum.freedom()

    columns = (members - mean[None]).T, taper
    moved, freedom = lax.map(lambda c: column(*c), columns, batch_size=COORDINATES_AT_ONCE)
    moved = mean[None, None] + jnp.moveaxis(moved, 0, 2)  # share, member, coordinate
    taken = jax.vmap(lambda x: _secant(x, innovation, middle, measurement, taper / noise[None]))
    return members[None] + taken(moved)[:, None] * (moved - members[None]), freedom


def _sound(before: Float[Array, "n d"], after: Float[Array, "n d"]) -> Float[Array, " d"]:
    """Return 1 for coordinates whose spread was not widened, 0 from a factor of 2 on.

    Members that are lost are no sample of anything: a rotation would only share out their errors.
    """
    spread = jnp.std(before, axis=0)
    factor = jnp.std(after, axis=0) / jnp.where(spread > 0, spread, 1)
    return jnp.clip(2 - lax.stop_gradient(factor), 0, 1)


def _secant(
    moved: Array, innovation: Array, middle: Array, measurement: Measurement, precision: Array
) -> Float[Array, " d"]:
    """Return the part of every coordinate's step to take, as `gains.secant`, near it.

    Here the mean follows the innovation, and what its step does to the mean prediction counts.
    """
    response = jnp.mean(measurement.predict(moved), axis=0) - middle
    response = jnp.where(innovation == 0, 0, response)
    along = jnp.matmul(precision, innovation * response, precision="highest")
    square = jnp.matmul(precision, response**2, precision="highest")
    return gains.part(along, square)


def _sampling(
    rule: SamplingInflation, freedom: Float[Array, " d"], excess: Float[Array, " d"], n: int
) -> Array:
    """Return each coordinate's factor, from the sampling noise of its gain and of its weights.

    Of the gain, half of what the global rule adds: no measurement is perturbed and the taper cuts
    off far correlations. The weights' noise, `excess` of a coordinate's variance, counts as
    (N - 1) excess degrees of freedom, `WEIGHTS_COUNT` times: every coordinate is weighed by itself,
    which also costs the relations between them. Both parts were chosen on lorenz96-40, sakov2008
    and spantini2019.
    """
    return rule.of(0.5 * freedom + WEIGHTS_COUNT * (n - 1) * excess, n)


def _log_weights(
    members: Array, alive: Array, y: Array, measurement: Measurement, noise: Array, taper: Array
) -> Float[Array, "d n"]:
    """Return the normalised log-weights of every coordinate; `taper` includes the share."""
    each = measurement.log_components(y, members, noise)
    # relative to the likeliest member: a far measurement must not cost the differences their digits
    each = each - jnp.max(each, axis=0, keepdims=True)
    total = jnp.matmul(taper, each.T, precision="highest")
    return jax.nn.log_softmax(jnp.where(alive[None], total, -jnp.inf), axis=1)
