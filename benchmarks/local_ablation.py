"""What each part of the localised default is worth: one setting at a time, as in `ablation.py`.

python benchmarks/local_ablation.py [CELL ...]    writes results/local_ablation.json (20 minutes)

Energy score on the 12 development seeds 6000 to 6011, paired. "Noise of the weights" is what the
inflation counts of it, a constant of `kdediff_jax.analysis.local_bridge`, patched here.
"""

from __future__ import annotations

import contextlib
import sys
from unittest import mock

from ablation import NEVER, SHARES, START, build, lines
from common import save

from kdediff_jax.analysis import local_bridge
from kdediff_jax.analysis.bridge import DOUBT
from kdediff_jax.sweeping import use_every_core

SEEDS = tuple(range(6000, 6012))
CELLS = ("lorenz96-40:40", "spantini2019:60", "sakov2008:40", "bao2024:20")
COUNT = "weights count"
LOCAL_START = START | {"doubt": local_bridge.LOCAL_DOUBT, COUNT: local_bridge.WEIGHTS_COUNT}
VARIANTS = {
    "default": {},
    "spread never doubted": {"doubt": 0.0},
    "spread doubted as little as in the global filter": {"doubt": DOUBT},
    "no surprise": {"surprise": NEVER},
    "no rotation": {"rotation": 0.0},
    "half the rotation": {"rotation": 0.45},
    "twice the rotation": {"rotation": 1.8},
    "noise of the weights not counted": {COUNT: 0.0},
    "half of the weights' noise counted": {COUNT: 0.5 * local_bridge.WEIGHTS_COUNT},
    "twice the weights' noise counted": {COUNT: 2 * local_bridge.WEIGHTS_COUNT},
    "half the noise budget": {"noise_budget": 0.05},
    "twice the noise budget": {"noise_budget": 0.2},
    "a third of the evidence": {"evidence": 0.033},
    "three times the evidence": {"evidence": 0.3},
}


@contextlib.contextmanager
def patched(experiment, settings):
    """Give the filter as `ablation.build`, with the constant that the settings name."""
    count = settings.pop(COUNT, local_bridge.WEIGHTS_COUNT)
    weights_count = mock.patch.object(local_bridge, "WEIGHTS_COUNT", count)
    with weights_count, build(experiment, settings) as default:
        yield default


if __name__ == "__main__":
    use_every_core()
    groups = VARIANTS, SHARES
    found = {
        cell: lines(cell, groups, seeds=SEEDS, start=LOCAL_START, build=patched)
        for cell in sys.argv[1:] or CELLS
    }
    settings = {"seeds": SEEDS, "variants": str(VARIANTS | SHARES)}
    save("local_ablation", settings, {"cells": found})
