"""R as blocks: the answers of the matrix that they are, and no matrix formed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import quick
from stages import with_two_long_axes

import kdediff_jax as kd
from kdediff_jax.ensemble import gains, gaussian_update

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
    blocks = jnp.broadcast_to(jnp.eye(4) + 0.5, (m // 4, 4, 4))
    where = kd.Localisation(np.arange(m), np.arange(m), 2.0)
    h = kd.Identity()
    each = [(scheme, h, m, blocks) for scheme in (kd.EnKF(), kd.LETKF(where), kd.LEnKPF(where))]
    # the global mixture has a root in the state's own dimension: few coordinates, seen often
    often = [(kd.EnKPF(), kd.Linear(np.ones((m, 3))), 3, r) for r in (blocks, jnp.ones(m))]
    for scheme, operator, d, r in [*each, (kd.ETKF(), h, m, jnp.ones(m)), *often]:
        observation = Blocked(operator, 1.0, r)

        def run(x, scheme=scheme, observation=observation):
            return scheme(key, x, jnp.zeros(m), observation)[0]

        assert not with_two_long_axes(jax.make_jaxpr(run)(jnp.ones((n, d))), m)


@pytest.mark.parametrize("r", [np.full(6, 0.5), matrix()], ids=["diagonal", "matrix"])
def test_an_enkpf_of_few_members_is_that_of_all_components(x64, key, monkeypatch, r):
    """By the systems of 4 and of 6 unknowns, with one component missing, and lost or not."""
    x = jax.random.normal(key, (4, 3))
    observation = Blocked(kd.Linear(rng.normal(size=(6, 3))), 1.0, jnp.asarray(r))
    y = jnp.asarray([0.3, -1.0, jnp.nan, 0.5, 1.0, 0.0])

    def run(y):
        return kd.EnKPF()(key, x, y, observation)[0]

    found = jax.vmap(quick(run))(jnp.stack([y, 40 * y]))
    for module in (gaussian_update, gains):
        monkeypatch.setattr(module, "fewer_members", lambda _: False)
    expected = jax.vmap(quick(lambda y: run(y)))(jnp.stack([y, 40 * y]))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_blocks_that_do_not_fit_are_named(key):
    observation = Blocked(kd.Identity(), 1.0, jnp.ones((2, 2, 2)))
    with pytest.raises(ValueError, match=r"blocks \(b, s, s\) with b s = 6, got \(2, 2, 2\)"):
        kd.ETKF()(key, jnp.ones((4, 6)), jnp.zeros(6), observation)
