"""Samples and tolerances of the tests of scores."""

import numpy as np
import pytest


@pytest.fixture
def tolerance():
    """`tolerance(dtype, factor)`: that many roundings."""
    return lambda dtype, factor=50.0: factor * float(np.finfo(dtype).eps)


@pytest.fixture
def sample():
    """`sample(dtype, *shape, seed, shift)`: standard-normal numbers of NumPy, moved by a shift."""

    def draw(dtype, *shape, seed=0, shift=0.0):
        return (np.random.default_rng(seed).normal(size=shape) + shift).astype(dtype)

    return draw
