"""R as blocks: the answers of the matrix that they are, and no matrix formed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick

import kdediff_jax as kd

rng = np.random.default_rng(0)
ROOTS = rng.normal(size=(3, 2, 2)) + 2 * np.eye(2)
BLOCKS = ROOTS @ ROOTS.transpose(0, 2, 1)
WHERE = kd.Localisation(np.arange(6.0), np.arange(6.0), 1.0)


class Blocked(kd.GaussianObservation):
    """Noise whose covariance is stated in some form."""

    r: jax.Array

    def covariance(self, m, dtype, t):
        return jnp.asarray(self.r, dtype)


def matrix():
    whole = np.zeros((6, 6))
    for k, block in enumerate(BLOCKS):
        whole[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = block
    return whole


@pytest.mark.parametrize("members", [5, 9])
@pytest.mark.parametrize(
    "scheme",
    [kd.EnKF(), kd.ETKF(), kd.LETKF(WHERE), kd.LEnKPF(WHERE, kalman_share=0.5), kd.EnKPF()],
    ids=lambda scheme: type(scheme).__name__,
)
def test_every_scheme_takes_blocks_as_their_matrix(x64, key, scheme, members):
    if members == 9 and type(scheme) in (kd.LEnKPF, kd.EnKPF):
        pytest.skip("compiles for long, and has one path")
    x = jax.random.normal(key, (members, 6))
    y = jnp.asarray([0.3, -1.0, jnp.nan, 0.5, 1.0, 0.0])

    @quick
    def run(x, r):
        return scheme(key, x, y, Blocked(kd.Identity(), 1.0, r))[0]

    found, expected = (run(x, jnp.asarray(r)) for r in (BLOCKS, matrix()))
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_no_matrix_of_all_components_is_formed(key):
    n, m = 6, 200
    x, blocks = jnp.ones((n, m)), jnp.broadcast_to(jnp.eye(4) + 0.5, (m // 4, 4, 4))
    observation = Blocked(kd.Identity(), 1.0, blocks)
    where = kd.Localisation(np.arange(m), np.arange(m), 2.0)
    for scheme in (kd.EnKF(), kd.ETKF(), kd.LETKF(where), kd.LEnKPF(where)):
        program = jax.make_jaxpr(lambda x, f=scheme: f(key, x, jnp.zeros(m), observation)[0])(x)
        assert f"{m},{m}]" not in str(program)


def test_blocks_that_do_not_fit_are_named(key):
    observation = Blocked(kd.Identity(), 1.0, jnp.ones((2, 2, 2)))
    with pytest.raises(ValueError, match=r"blocks \(b, s, s\) with b s = 6, got \(2, 2, 2\)"):
        kd.ETKF()(key, jnp.ones((4, 6)), jnp.zeros(6), observation)
