"""The variants of the untuned filter: one setting at a time switched off or moved."""

from __future__ import annotations

import functools

import kdediff_jax as kd

NEVER = float("inf")
SPLITS = {
    "least noisy share always": {"kalman_share": kd.LikelihoodSplit(tolerance=1e9)},
    "noisiest share allowed always": {"kalman_share": kd.LikelihoodSplit(tolerance=0.0)},
    "a third of the tolerance": {"kalman_share": kd.LikelihoodSplit(tolerance=0.033)},
    "three times the tolerance": {"kalman_share": kd.LikelihoodSplit(tolerance=0.3)},
    "half the noise budget": {"kalman_share": kd.LikelihoodSplit(noise_budget=0.05)},
    "twice the noise budget": {"kalman_share": kd.LikelihoodSplit(noise_budget=0.2)},
    "kernel only (kalman_share 0)": {"kalman_share": 0.0},
    "Kalman gain only (kalman_share 1)": {"kalman_share": 1.0},
}
GLOBAL = {
    "default": {},
    "no outlier is a lost filter": {
        "spread_correction": kd.SpreadCorrection(outlier_threshold=NEVER)
    },
    "no inflation": {"inflation": kd.SamplingInflation(0.0)},
    "masses of modes as the weights say": {"mode_masses": kd.ModeMasses(threshold=0.0)},
    "kernel of the forecast's shape": {"kernel_shape": kd.ForecastShape()},
    "kernel as narrow as the weights allow": {"kernel_width": kd.SilvermanWidth(minimum_loss=0.0)},
    "one gain for all members": {"gain": kd.LocalGain(width=NEVER)},
    **SPLITS,
}
LOCAL = {
    "default": {},
    "spread never doubted": {"spread_correction": kd.FieldSpreadCorrection(log_spread_std=0.0)},
    "spread doubted as little as in the global filter": {
        "spread_correction": kd.FieldSpreadCorrection(log_spread_std=0.3)
    },
    "no inflation": {"inflation": 1.0},
    "noise of the weights not counted": {"inflation": kd.FieldSamplingInflation(weights=0.0)},
    "half of the weights' noise counted": {"inflation": kd.FieldSamplingInflation(weights=4.0)},
    "twice the weights' noise counted": {"inflation": kd.FieldSamplingInflation(weights=16.0)},
    "no rotation": {"rotation_angle": 0.0},
    "half the rotation": {"rotation_angle": 0.45},
    "twice the rotation": {"rotation_angle": 1.8},
    **SPLITS,
}


INFLATION, SHAPE, LOSS = (
    *("no inflation", "kernel of the forecast's shape"),
    "kernel as narrow as the weights allow",
)
ONCE_MORE = {
    "default": (),
    **{label: (label,) for label in (INFLATION, LOSS, SHAPE)},
    "neither inflation nor a minimum loss": (INFLATION, LOSS),
    "neither the weighted members' shape nor a minimum loss": (SHAPE, LOSS),
    "neither the weighted members' shape nor inflation": (SHAPE, INFLATION),
}


def variants_once_more(_):
    """Return parts that are worth little one at a time, alone and in pairs."""
    return {
        label: functools.partial(kd.EnKPF, **{k: v for off in offs for k, v in GLOBAL[off].items()})
        for label, offs in ONCE_MORE.items()
    }


def variants_of(experiment):
    """Return by label what builds each variant of the filter for an experiment."""
    if experiment.localisation is None:
        return {label: functools.partial(kd.EnKPF, **changes) for label, changes in GLOBAL.items()}
    local = functools.partial(kd.LEnKPF, experiment.localisation)
    return {label: functools.partial(local, **changes) for label, changes in LOCAL.items()}
