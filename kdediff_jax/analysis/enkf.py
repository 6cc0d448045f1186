r"""Stochastic ensemble Kalman filter, the Gaussian baseline.

Source: Burgers, van Leeuwen and Evensen 1998, Mon. Wea. Rev. 126, 1719.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from .._typing import Key, like
from ..ensemble.covariance import whole_ensemble
from ..ensemble.gains import centred_normals, degrees_of_freedom, kalman_step
from ..ensemble.inflation import ConstantInflation, Inflation, as_inflation, restore_spread
from ..observations.noise import AbstractNoise, AutoNoise, as_noise
from .base import AbstractKalmanAnalysis
from .outcome import Outcome
from .predict import Predicted


class EnKF(AbstractKalmanAnalysis):
    r"""Perturbed-observation EnKF.

    With P_xh, P_hh the sample covariances (divisor N - 1) of members and predictions,

        x_i + P_xh (P_hh + R)^{-1} (y + e_i - h(x_i)),      e_i ~ N(0, R), centred.

    Fewer members than measurements make it a system of N unknowns: O(N^2 m + N^3).

    Args:
        inflation: factor of the analysis anomalies (1 switches it off), or a rule such as
            `SamplingInflation()`, which chooses it every cycle, or `RelaxationToPriorSpread()`.
        noise: where h and R come from: "auto" (stated by the observation, else replicates),
            "known", "sampled" (replicates), "pairs" (one simulated measurement per member, as the
            paper's EnKF), or a rule, see `kdediff_jax.observations.noise`.

    Raises:
        ValueError: inflation not positive, an unknown option.
        TypeError: (when called) noise="known" with an observation that does not state h and R.
    """

    inflation: Inflation = eqx.field(
        converter=as_inflation, kw_only=True, default_factory=ConstantInflation
    )
    noise: AbstractNoise = eqx.field(converter=as_noise, kw_only=True, default_factory=AutoNoise)

    def condition(self, key: Key, forecast: Predicted) -> Outcome:
        """Move every member by the ensemble's own Kalman gain."""
        members, n = forecast.members, forecast.members.shape[0]
        both = forecast.whitened(jnp.concatenate([forecast.deviations, forecast.innovations]))
        deviations, innovations = both[:n], both[n:]
        # in a missing component it meets deviations of 0, and has no effect
        perturbation = centred_normals(key, n, both.shape[1], both.dtype)
        covariances = whole_ensemble(forecast.anomalies, deviations)
        step = kalman_step(covariances, innovations + perturbation)
        freedom = degrees_of_freedom(deviations)
        analysis = restore_spread(self.inflation, members, members + step, freedom)
        ess = like(analysis, n)
        return Outcome(analysis, jnp.mean(analysis, axis=0), ess, forecast.alive)
