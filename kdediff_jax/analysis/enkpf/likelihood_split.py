r"""The split stage: how much of the likelihood a Kalman gain gets.

The likelihood is split, p(y | x) = p^g p^(1 - g) (Frei and Künsch 2013): the first factor moves
every member by a Kalman gain, the second weighs the moved members. g = 1 is an ensemble Kalman
filter, g = 0 the kernel filter alone.

Particle weights are right for any forecast and noisy; a Kalman gain has little noise and is right
for a Gaussian forecast. Lepski's principle (Lepski 1991) decides between such estimates: the least
noisy one that no noisier one contradicts. With phi(g) the posterior means of some features under
the share g, and v(g) = d (1 / ESS(g) - 1 / N) the sampling noise that its weights add, in units of
the posterior variance and summed over d coordinates, the largest g is taken for which

    mean over features of (phi(g) - phi(g'))^2  <=  tolerance v(g')   for every smaller share g'.

Shares whose noise exceeds a budget are neither taken nor asked. A noisy analysis costs more than
the noise of its moments, as every later cycle starts from it: hence the sum over coordinates.
"""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import concrete, positive
from ..._typing import Array, Bool, Float, Int, Number, as_leaf, like, tunable
from ...numerics import dot, root_of_rows, safe_sqrt, solve_lower, standard_deviation
from .mixture import Mixture


class AbstractLikelihoodSplit(eqx.Module):
    """A rule for the Kalman share: candidates, and the choice between their posteriors.

    A rule of your own subclasses this, with a field `shares` and `choose`; `EnKPF` and `LEnKPF`
    take it as `kalman_share`. `FixedSplit` is the shortest.

    Attributes:
        shares: candidates in increasing order, in [0, 1]: an array or a sequence of numbers.

    Raises:
        ValueError: shares that are not.
    """

    shares: eqx.AbstractVar[Number]

    def __check_init__(self) -> None:
        """Check the shares, a user's too: equinox runs this for every subclass."""
        known = concrete(self.shares)
        if known is None:
            return
        in_order = known.ndim == 1 and known.size and (np.diff(known) > 0).all()
        if not (in_order and ((known >= 0) & (known <= 1)).all()):
            raise ValueError(
                "kalman_share: expected a number in [0, 1], or shares there in increasing order, "
                f"got {known.tolist()}"
            )

    @abc.abstractmethod
    def choose(
        self,
        estimates: Float[Array, "g f"],
        sampling_noise: Float[Array, " g"],
        spent: Float[Array, " g"],
    ) -> Int[Array, ""]:
        """Return the index of the share to take; it is traced: no Python `if` on an array.

        Args:
            estimates: posterior means of the features, of unit variance, for every share.
            sampling_noise: v(g), that of the weights.
            spent: what counts against a budget: v(g) times the part of the members that take part
                (`LEnKPF`: of one coordinate).
        """


class FixedSplit(AbstractLikelihoodSplit):
    """One share in every cycle; a number given as `kalman_share` becomes this.

    Args:
        shares: g, in [0, 1].

    Raises:
        ValueError: a share out of range.
    """

    shares: Number = eqx.field(converter=lambda share: jnp.atleast_1d(as_leaf(share)))

    def choose(
        self,
        estimates: Float[Array, "g f"],
        sampling_noise: Float[Array, " g"],
        spent: Float[Array, " g"],
    ) -> Int[Array, ""]:
        """Return the only index."""
        return jnp.zeros((), jnp.int32)


class LikelihoodSplit(AbstractLikelihoodSplit):
    """The largest share that no smaller one contradicts, see above.

    Args:
        shares: candidates in increasing order; the last is always allowed.
        noise_budget: sampling noise v(g) that weights may add: ESS >= N / (1 + noise_budget N / d).
        tolerance: how much the moments of two shares may differ: mean square, over the sampling
            noise that the weights add. With 0 any difference speaks against the larger share.

    Raises:
        ValueError: a number out of range.
    """

    shares: Number = tunable((0.0, 0.1, 0.25, 0.5, 0.75, 1.0))
    noise_budget: Number = tunable(0.1)
    tolerance: Number = tunable(0.1)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("noise_budget", self.noise_budget)
        positive("tolerance", self.tolerance, zero=True)

    def choose(
        self,
        estimates: Float[Array, "g f"],
        sampling_noise: Float[Array, " g"],
        spent: Float[Array, " g"],
    ) -> Int[Array, ""]:
        """Return the index of the largest sound share."""
        allowed = (spent <= like(spent, self.noise_budget)).at[-1].set(True)
        bound = like(sampling_noise, self.tolerance) * jnp.maximum(sampling_noise, 0)
        return largest_uncontradicted(estimates, bound, allowed)


def largest_uncontradicted(
    estimates: Float[Array, "g f"], bound: Float[Array, " g"], allowed: Bool[Array, " g"]
) -> Int[Array, ""]:
    """Return the largest index whose estimate lies within the bound of every smaller one's.

    Args:
        estimates: features for every share.
        bound: mean squared difference that the noise of each share explains.
        allowed: only these are taken, or asked.
    """
    # shares are in increasing order: an index is as good as the share
    place = jnp.arange(bound.shape[0])
    gaps = jnp.mean((estimates[:, None] - estimates[None]) ** 2, axis=2)
    asked = allowed[None] & (place[None] < place[:, None])
    sound = allowed & jnp.all(~asked | (gaps <= bound[None]), axis=1)
    # the smallest share allowed is contradicted by none
    return jnp.max(jnp.where(sound, place, 0))


def joint_features(candidates: Mixture) -> Float[Array, "g f"]:
    """Return the mixtures' means of coordinates, squares and products, for every share.

    Coordinates are whitened by the components of the last share, and every feature has unit
    variance among those. Second moments include the components' covariance. All products at once
    are a [d d] matrix: no feature of a single member is stored.

    Args:
        candidates: a mixture for every share, [g ...].
    """
    last = candidates.means[-1]
    n, d = last.shape
    mean = jnp.mean(last, axis=0, keepdims=True)
    root = root_of_rows((last - mean) / n**0.5)

    def moments(mixture: Mixture) -> tuple[Array, Array, Array]:
        both = solve_lower(root, jnp.concatenate([(mixture.means - mean).T, mixture.root], axis=1))
        z, within = both[:, :n].T, both[:, n:]
        weights = jnp.exp(mixture.log_weights)
        return z, dot(weights, z), dot((weights[:, None] * z).T, z) + dot(within, within.T)

    z, first, second = jax.vmap(moments)(candidates)
    squares = z[-1] ** 2
    variance = dot(squares.T, squares) / n - (dot(z[-1].T, z[-1]) / n) ** 2
    upper = np.triu_indices(d)
    return jnp.concatenate(
        [
            first / _unit(jnp.var(z[-1], axis=0))[None],
            second[:, upper[0], upper[1]] / _unit(variance[upper])[None],
        ],
        axis=1,
    )


def coordinate_features(
    members: Float[Array, "g n d"], log_weights: Float[Array, "g d n"]
) -> Float[Array, "g f"]:
    """Return the weighted means of coordinates and squares, weights of its own for each coordinate.

    Coordinates are standardised by the members of the last share, and every feature has unit
    variance among those.
    """
    last = members[-1]
    z = (members - jnp.mean(last, axis=0)[None, None]) / standard_deviation(last)[None, None]
    powers = jnp.concatenate([z, z**2], axis=2)
    weights = jnp.swapaxes(jnp.exp(log_weights), 1, 2)
    estimates = jnp.sum(jnp.concatenate([weights, weights], axis=2) * powers, axis=1)
    return estimates / _unit(jnp.var(powers[-1], axis=0))[None]


def _unit(variance: Float[Array, " f"]) -> Float[Array, " f"]:
    """Return the features' standard deviations; a constant feature cannot contradict anything."""
    return safe_sqrt(variance, otherwise=jnp.inf)


def as_split(value: Any) -> AbstractLikelihoodSplit:
    """Return None as `LikelihoodSplit`, a number as `FixedSplit`, a rule as it is."""
    if value is None:
        return LikelihoodSplit()
    return value if isinstance(value, AbstractLikelihoodSplit) else FixedSplit(value)
