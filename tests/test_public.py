"""The public names: all there, loaded on first touch, and none of them loads JAX before."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

ROOT = Path(kd.__file__).parent
MODULES = sorted(
    path.stem if path.is_file() else path.name
    for path in ROOT.iterdir()
    if path.suffix == ".py" or (path / "__init__.py").is_file()
    if not path.name.startswith("_") and path.name != "cli"
)


def printed(code):
    """Return the JSON that a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_every_public_name_is_there():
    assert len(set(kd.__all__)) == len(kd.__all__)
    missing = [name for name in kd.__all__ if getattr(kd, name, None) is None]
    assert not missing
    assert set(kd.__all__) <= set(dir(kd))
    with pytest.raises(AttributeError, match="has no attribute 'CovarianceKernel'"):
        _ = kd.CovarianceKernel


def test_every_module_is_public_and_reached_on_first_touch():
    assert set(MODULES) <= set(kd.__all__)
    for name in MODULES:  # a first touch ends in `__getattr__`, whatever is loaded already
        assert kd.__getattr__(name) is importlib.import_module(f"kdediff_jax.{name}")
    first = printed(
        "import kdediff_jax as kd\n"
        "names = [kd.experiments.CATALOGUE, kd.ensemble, kd.observations.Select, kd.EnKPF]\n"
        "print(json.dumps(len(names)))"
    )
    assert first == 4


def test_nothing_heavy_is_imported_before_it_is_needed():
    heavy = printed(
        "import kdediff_jax, kdediff_jax.cli\n"
        "dir(kdediff_jax)\n"
        "names = ('jax', 'numpy', 'equinox', 'diffrax', 'optax', 'matplotlib', 'xarray', 'ot')\n"
        "print(json.dumps([name for name in names if name in sys.modules]))"
    )
    assert heavy == []


def test_one_effective_sample_size_whatever_the_units_of_the_weights(dtype):
    assert kd.kde.effective_sample_size is kd.metrics.effective_sample_size
    ess = jax.jit(kd.kde.effective_sample_size)
    np.testing.assert_allclose(ess(jnp.full(50, -1e7, dtype)), 50, rtol=1e-6)
    log_weights = jnp.asarray(np.random.default_rng(0).integers(-3, 3, 50), dtype)
    for shift in (-1e6, 1e6):  # whole numbers: adding them is exact
        np.testing.assert_allclose(ess(log_weights + shift), ess(log_weights), rtol=1e-5)
