"""The guards that every scheme shares: who may take part, and what may go on."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from .._checks import positive
from .._typing import Array, Bool, Float, Number, Scalar, like, tunable
from ..ensemble.inflation import inflate
from ..numerics import rarely
from .members import admit
from .outcome import AnalysisInfo, Outcome


class Safeguards(eqx.Module):
    """What keeps a run alive: masks for bad members, and the forecast in place of a failure.

    Args:
        far_member: distance from the median, in halves of the distance between the members' 15th
            and 85th percentile (1.04 standard deviations of a Gaussian), beyond which a member is
            masked in the forecast and in the predictions; infinity for never. Far beyond honest
            heavy tails: of a hundred Cauchy draws one is masked in 120 ensembles, of a
            thousand log-normal ones (sigma = 2) one in 1250.
        failure_inflation: factor of the anomalies of a forecast that goes on in place of a failed
            analysis.

    Raises:
        ValueError: a number that is not positive.
    """

    far_member: Number = tunable(4000.0)
    failure_inflation: Number = tunable(1.05)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("far_member", self.far_member, infinite=True)
        positive("failure_inflation", self.failure_inflation)

    def admit(
        self, forecast: Float[Array, "n d"], localised: bool = False
    ) -> tuple[Array, Bool[Array, " n"]]:
        """Return the members with stand-ins for those that take no part, and who takes part.

        Args:
            forecast: as it came.
            localised: whether a member can take part without some of its coordinates.
        """
        return admit(forecast, like(forecast, self.far_member), localised)

    def settle(
        self,
        forecast: Float[Array, "n d"],
        members: Float[Array, "n d"],
        y: Float[Array, " m"],
        outcome: Outcome,
        localised: bool = False,
    ) -> tuple[Float[Array, "n d"], AnalysisInfo]:
        """Return what goes on, and the report.

        Where nothing counts of the measurement, the members go on as they are. So they do, with
        their anomalies inflated, where the analysis failed: the next measurement finds a live
        filter. One survivor is no ensemble, and the forecast stays as it came. A localised analysis
        that is not finite somewhere goes on elsewhere, as it does beside coordinates of which fewer
        than two members are finite.

        Args:
            forecast: as it came.
            members: as `admit` returned them.
            y: the measurement.
            outcome: of the scheme.
            localised: whether coordinates can fail by themselves.
        """
        num_alive = jnp.sum(outcome.alive, dtype=jnp.int32)
        left = jnp.sum(jnp.isfinite(forecast), axis=0) >= 2 if localised else jnp.array(True)
        found = Verdict(
            enough=num_alive >= 2,
            nothing=jnp.all(jnp.isnan(y) | outcome.gross_errors),
            solved=jnp.asarray(outcome.ok) & ~jnp.any(jnp.isinf(y)),
            left=left,
        )
        sound = found.solved & _finite(outcome) & jnp.all(left)
        analysed = outcome.ensemble, jnp.broadcast_to(outcome.mean, members.shape[1:])

        def in_its_place() -> tuple[Array, Array]:
            factor = jnp.where(found.nothing, 1, like(members, self.failure_inflation))
            ensemble = jnp.where(found.enough, inflate(members, factor), forecast)
            if not localised:
                return ensemble, _mean_of_finite(ensemble)
            return _elsewhere(found, analysed, ensemble, forecast)

        ensemble, mean = rarely(~(found.done & sound), in_its_place, lambda: analysed)
        # a stand-in differs from what it stands for, as NaN does from everything
        somewhere = localised and jnp.any(members != forecast, axis=1)
        num_masked = jnp.sum(~outcome.alive | somewhere, dtype=jnp.int32)
        gross = jnp.broadcast_to(outcome.gross_errors, y.shape)
        half_left = 2 * num_masked <= forecast.shape[0]
        return ensemble, AnalysisInfo(
            ess=jnp.where(found.nothing, like(forecast, num_alive), outcome.ess),
            num_steps=found.count(outcome.num_steps),
            num_rejected=found.count(outcome.num_rejected),
            ok=found.enough & (found.nothing | sound) & half_left,
            num_masked=num_masked,
            num_gross_errors=jnp.sum(gross, dtype=jnp.int32),
            num_unreached=found.count(outcome.num_unreached),
            normalised_innovation=like(forecast, outcome.normalised_innovation),
            mean=mean,
        )


class Verdict(NamedTuple):
    """What became of an analysis.

    Attributes:
        enough: whether two members or more took part.
        nothing: whether nothing counted of the measurement.
        solved: whether the scheme came to an end.
        left: of a localised scheme, which coordinates have two finite members or more.
    """

    enough: Bool[Array, ""]
    nothing: Bool[Array, ""]
    solved: Bool[Array, ""]
    left: Bool[Array, "*d"]

    @property
    def done(self) -> Bool[Array, ""]:
        """Whether there was an analysis at all."""
        return self.enough & ~self.nothing

    def count(self, value: Array | int) -> Array:
        """Return a number of the scheme's, 0 where there was no analysis."""
        return jnp.where(self.done, jnp.asarray(value, jnp.int32), 0)


def _elsewhere(
    found: Verdict,
    analysed: tuple[Array, Array],
    instead: Float[Array, "n d"],
    forecast: Float[Array, "n d"],
) -> tuple[Array, Array]:
    """Return a localised analysis where it is finite, and what goes on in its place elsewhere."""
    ensemble, mean = analysed
    finite = jnp.isfinite(mean) & jnp.all(jnp.isfinite(ensemble), axis=0)
    mixed = jnp.where((found.done & found.solved & finite)[None], ensemble, instead)
    mixed = jnp.where(found.left[None], mixed, forecast)
    return mixed, jnp.where(found.left, jnp.mean(mixed, axis=0), _mean_of_finite(instead))


def _finite(outcome: Outcome) -> Bool[Array, ""]:
    """Return whether an outcome is; draws by weights that are NaN may look sound."""
    finite = jnp.all(jnp.isfinite(outcome.ensemble)) & jnp.all(jnp.isfinite(outcome.mean))
    return finite & jnp.isfinite(outcome.ess)


def _mean_of_finite(ensemble: Float[Array, "n d"]) -> Float[Array, " d"]:
    """Return the mean of the finite members, NaN where there is none."""
    finite = jnp.all(jnp.isfinite(ensemble), axis=1)
    total = jnp.sum(jnp.where(finite[:, None], ensemble, 0), axis=0)
    return total / jnp.sum(finite).astype(ensemble.dtype)


def gross_errors(
    innovation: Float[Array, " m"], variance: Float[Array, " m"], threshold: Scalar
) -> Bool[Array, " m"]:
    """Return which components are no measurements: the background check of a data assimilation.

    Args:
        innovation: y - mean h, 0 in missing components.
        variance: P_hh + R, its expected square.
        threshold: in standard deviations.
    """
    return jnp.abs(innovation) > threshold * jnp.sqrt(variance)


def normalised_innovation(
    innovation: Float[Array, " m"], variance: Float[Array, " m"], measured: Bool[Array, " m"]
) -> Scalar:
    """Return the mean of innovation^2 / variance over measured components."""
    ratios = jnp.where(measured, innovation**2 / jnp.where(measured, variance, 1), 0)
    return jnp.sum(ratios) / jnp.sum(measured).astype(ratios.dtype)
