"""Shared fixtures: strict promotion everywhere; both precisions where a test asks for `dtype`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Run the test in float32 and, with x64 switched on, in float64."""
    with jax.enable_x64(request.param == "float64"):
        yield jnp.dtype(request.param)


@pytest.fixture
def x64():
    """Run the test with float64 enabled."""
    with jax.enable_x64(True):
        yield jnp.dtype("float64")


@pytest.fixture
def key():
    """One fixed seed."""
    return jax.random.key(20260322)
