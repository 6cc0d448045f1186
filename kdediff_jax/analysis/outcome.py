"""What an analysis returns, and what it reports."""

from __future__ import annotations

from typing import NamedTuple

from .._typing import Array, Bool, Float, Int, Scalar


class AnalysisInfo(NamedTuple):
    """What an analysis reports; the same fields for every scheme.

    Attributes:
        ess: effective sample size of the weights, 1 to N (N for schemes without weights). A
            handful means that the weights have collapsed.
        num_steps: accepted solver steps (0 without a solve).
        num_rejected: rejected solver steps.
        ok: the solve succeeded, the analysis is finite, the measurement is not infinite, and half
            of the members, two at least, were usable. Where it is False for another reason than
            masked members, the forecast went on in place of an analysis.
        num_masked: members that were left out: not finite, without a prediction, or far beyond the
            others, see `Safeguards`; in a run also those in whose place its reserve came. Of a
            localised filter those too that were left out in some places alone.
        num_gross_errors: components of the measurement that were left out as gross errors.
        num_unreached: coordinates with no measured component within reach, which a localised
            filter leaves as they are; 0 for other filters, and where nothing was measured.
        normalised_innovation: mean over measured components of (y - mean h)^2 / (P_hh + R), of the
            forecast as it came, gross errors included. Near 1 where the forecast knows its error;
            NaN where nothing was measured. `FilterResult.diagnose` says it in words. The vector
            y - mean h (`Predicted.mean_innovation`) is not kept: form it in `save`, from
            `CycleOutput.forecast` and `.y`.
        mean: the scheme's best estimate of the posterior mean: SIR's weighted mean before
            resampling, elsewhere the mean of the analysis ensemble; NaN where no member is left.
    """

    ess: Scalar
    num_steps: Int[Array, ""]
    num_rejected: Int[Array, ""]
    ok: Bool[Array, ""]
    num_masked: Int[Array, ""]
    num_gross_errors: Int[Array, ""]
    num_unreached: Int[Array, ""]
    normalised_innovation: Scalar
    mean: Float[Array, " d"]


class Outcome(NamedTuple):
    """What a scheme's own `analyse` returns, before the common guards.

    Attributes:
        ensemble: equally weighted analysis members.
        mean: estimate of the posterior mean.
        ess: effective sample size.
        alive: which members were usable (finite, and finite predictions where those were drawn).
        num_steps, num_rejected, ok: the solver's report, for schemes with a solve.
        gross_errors: which components of the measurement were left out, for schemes with a check.
        normalised_innovation: see `AnalysisInfo`, for schemes that predict the measurement.
        num_unreached: see `AnalysisInfo`, for localised schemes.
    """

    ensemble: Float[Array, "n d"]
    mean: Float[Array, " d"]
    ess: Scalar
    alive: Bool[Array, " n"]
    num_steps: Int[Array, ""] | int = 0
    num_rejected: Int[Array, ""] | int = 0
    ok: Bool[Array, ""] | bool = True
    gross_errors: Bool[Array, " m"] | bool = False
    normalised_innovation: Scalar | float = float("nan")
    num_unreached: Int[Array, ""] | int = 0
