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
    "spread never doubted": {"spread_correction": kd.SpreadCorrection(log_spread_std=0.0)},
    "no outlier is a lost filter": {
        "spread_correction": kd.SpreadCorrection(outlier_threshold=NEVER)
    },
    "spread as it is": {
        "spread_correction": kd.SpreadCorrection(log_spread_std=0.0, outlier_threshold=NEVER)
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


def _together(*labels):
    """Return the changes of several variants of the global filter at once."""
    return {name: value for label in labels for name, value in GLOBAL[label].items()}


MASSES, ONE_GAIN = "masses of modes as the weights say", "one gain for all members"
SURE, NO_INFLATION = "spread never doubted", "no inflation"
SHAPE, LOSS = "kernel of the forecast's shape", "kernel as narrow as the weights allow"
# tried on other seeds, some together; each set is compared with its own first
SETS = {
    "again": {
        "default": {},
        **{label: GLOBAL[label] for label in (MASSES, ONE_GAIN, SURE)},
        "neither masses of modes nor gains of one's own": _together(MASSES, ONE_GAIN),
        "none of these three": _together(MASSES, ONE_GAIN, SURE),
    },
    "undoubted": {
        "default": GLOBAL[SURE],
        **{label: _together(SURE, label) for label in (NO_INFLATION, LOSS, SHAPE)},
        "neither inflation nor a minimum loss": _together(SURE, NO_INFLATION, LOSS),
        "neither the weighted members' shape nor a minimum loss": _together(SURE, SHAPE, LOSS),
        "neither the weighted members' shape nor inflation": _together(SURE, SHAPE, NO_INFLATION),
    },
    "doubt": {
        "default": {},
        SURE: GLOBAL[SURE],
        "spread doubted as much as in the localised filter": {
            "spread_correction": kd.SpreadCorrection(log_spread_std=0.5)
        },
    },
}
AS_THEY_ARE = kd.LostNeighbourhoods(outlier_threshold=NEVER, largest_increment=NEVER)
LOCAL_SETS = {
    "lost": {
        "default": {},
        "lost neighbourhoods as they are": {"lost_neighbourhoods": AS_THEY_ARE},
        "increments as large as they are": {
            "lost_neighbourhoods": kd.LostNeighbourhoods(largest_increment=NEVER)
        },
    },
    "chance": {
        "default": {},
        "gains with their chance": {"shrinkage": 0.0},
        "gains without twice the chance": {"shrinkage": 2.0},
    },
}


def variants_of_set(name, experiment):
    """Return what builds each variant of a set: `EnKPF` also where there is a localisation."""
    if name in LOCAL_SETS:
        return _built(functools.partial(kd.LEnKPF, experiment.localisation), LOCAL_SETS[name])
    return _built(kd.EnKPF, SETS[name])


def variants_of(experiment):
    """Return by label what builds each variant of the filter for an experiment."""
    if experiment.localisation is None:
        return _built(kd.EnKPF, GLOBAL)
    return _built(functools.partial(kd.LEnKPF, experiment.localisation), LOCAL)


def _built(build, variants):
    """Return by label what builds a filter with each variant's changes."""
    return {label: functools.partial(build, **changes) for label, changes in variants.items()}
