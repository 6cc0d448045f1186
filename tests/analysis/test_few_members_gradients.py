"""Gradients of every scheme with fewer members than measurements, where Gram matrices are singular.

Finite in float32, of every class; those of differences in float64, of the schemes that are smooth.
`KDEDiffusion` is left out: it solves no system, whose size could be either number.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import SCHEMES, data, first_of_each_class, problem, quick, size

FEW, MANY = 6, 9
# what a regression of nine components on six members leaves as R is singular, and so without slopes
OTHERS = "enkf, pairs", "kde", "kde, mixture"
CLASSES = [n for n in first_of_each_class() if n not in OTHERS]
SMOOTH = ["enkpf", *(n for n, s in SCHEMES.items() if s.smooth and n not in OTHERS)]


def slopes(name, dtype):
    """Return (members, y) -> a number of the analysis and its gradients, and a pair to begin at."""
    rng, d = np.random.default_rng(3), size(name)[0]
    own = problem(name)._replace(
        matrix=rng.normal(size=(MANY, d)), std=np.full(MANY, 0.8), obs_units=np.ones(MANY),
        radius=np.array(20.0),
    )  # fmt: skip
    members = data(name)[0][:FEW]
    y = own.matrix @ (members.mean(axis=0) + 0.5) + 0.5 * rng.normal(size=MANY)

    def total(members, y, own):
        scheme = SCHEMES[name].build(own)
        analysis, info = scheme(jax.random.key(3), members, y, own.observation)
        return jnp.sum(jnp.sin(analysis)) + jnp.sum(info.mean)

    both = quick(jax.value_and_grad(total, argnums=(0, 1)))

    def call(members, y):
        return both(*jax.tree.map(lambda a: jnp.asarray(a, dtype), (members, y, own)))

    return call, members, y


@pytest.mark.parametrize("name", CLASSES)
def test_gradients_are_finite_in_single_precision(name):
    call, members, y = slopes(name, "float32")
    _, (by_members, by_measurement) = call(members, y)
    assert np.isfinite(by_members).all() and np.isfinite(by_measurement).all()
    assert np.abs(by_members).max() > 1e-3


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_are_those_of_differences(name, x64):
    call, members, y = slopes(name, "float64")
    _, found = call(members, y)
    step = 1e-6
    for which, place in ((0, (1, 1)), (1, (0,))):
        change = [np.zeros_like(members), np.zeros_like(y)]
        change[which][place] = step
        up, down = (call(members + s * change[0], y + s * change[1])[0] for s in (1, -1))
        np.testing.assert_allclose(found[which][place], (up - down) / (2 * step), atol=1e-5)
