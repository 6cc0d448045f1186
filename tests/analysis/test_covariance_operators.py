"""R as a lineax operator: the answers of its matrix, and no matrix formed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import lineax
import numpy as np
import pytest
from schemes import SCHEMES, first_of_each_class, problem, quick, size
from stages import with_two_long_axes

import kdediff_jax as kd
from kdediff_jax.numerics import covariance_in_units, masked_covariance, variances, whitened
from kdediff_jax.numerics.structured_covariance import covariance_of_operator

M = 12
RNG = np.random.default_rng(0)
DIAGONAL, BESIDE = RNG.uniform(1, 2, M), RNG.uniform(-0.5, 0.5, M - 1)
TRIDIAGONAL = np.diag(DIAGONAL) + np.diag(BESIDE, 1) + np.diag(BESIDE, -1)
LEFT, RIGHT = (a @ a.T + np.eye(len(a)) for a in (RNG.normal(size=(k, k)) for k in (3, 4)))
PSD = lineax.positive_semidefinite_tag
H = RNG.normal(size=(M, 3))
Y = np.where(np.arange(M) == 4, np.nan, RNG.normal(size=M))


def kronecker(x):
    return jnp.ravel(jnp.asarray(LEFT, x.dtype) @ x.reshape(3, 4) @ jnp.asarray(RIGHT, x.dtype))


def space(m=M, dtype="float64"):
    return jax.ShapeDtypeStruct((m,), jnp.dtype(dtype))


OPERATORS = {
    "identity": (lambda: 2.0 * lineax.IdentityLinearOperator(space()), 2 * np.eye(M)),
    "diagonal": (lambda: lineax.DiagonalLinearOperator(jnp.asarray(DIAGONAL)), np.diag(DIAGONAL)),
    "tridiagonal": (
        lambda: lineax.TridiagonalLinearOperator(*map(jnp.asarray, (DIAGONAL, BESIDE, BESIDE))),
        TRIDIAGONAL,
    ),
    "matrix": (
        lambda: 2.0 * lineax.TaggedLinearOperator(
            lineax.MatrixLinearOperator(jnp.asarray(TRIDIAGONAL)), PSD
        ),
        2 * TRIDIAGONAL,
    ),
    "products": (
        lambda: lineax.FunctionLinearOperator(kronecker, space(), PSD),
        np.kron(LEFT, RIGHT),
    ),
}  # fmt: skip


class Stated(kd.GaussianObservation):
    """Noise whose covariance is stated as an operator, or as a matrix."""

    r: Any

    def covariance(self, m, dtype, t):
        return jnp.asarray(self.r, dtype) if isinstance(self.r, np.ndarray) else self.r


@pytest.mark.parametrize("name", OPERATORS)
def test_whitened_rows_have_the_products_of_the_matrix(x64, name):
    """In other units, and with missing components."""
    build, matrix = OPERATORS[name]
    rows, units = RNG.normal(size=(5, M)), RNG.uniform(0.5, 2, M)
    measured = ~np.isnan(Y)
    rows = np.where(measured, rows, 0)

    @quick
    def call(rows, units):
        r = covariance_in_units(covariance_of_operator(build(), M, rows.dtype), units)
        r = masked_covariance(r, jnp.asarray(measured))
        return whitened(rows, r), variances(r)

    white, variance = call(jnp.asarray(rows), jnp.asarray(units))
    r = np.where(np.outer(measured, measured), matrix / np.outer(units, units), 0)
    r = r + np.diag(1.0 - measured)
    np.testing.assert_allclose(white @ white.T, rows @ np.linalg.solve(r, rows.T), atol=1e-9)
    np.testing.assert_allclose(variance, np.diag(r), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "schemes"),
    [
        ("tridiagonal", [kd.ETKF(), kd.EnKF()]),
        ("products", [kd.ETKF(), kd.EnKF()]),
        pytest.param("tridiagonal", [kd.EnKPF(kalman_share=0.5)], marks=pytest.mark.slow),
    ],
)
def test_a_filter_takes_an_operator_as_its_matrix(x64, key, name, schemes):
    x = jax.random.normal(key, (6, 3))
    build, matrix = OPERATORS[name]

    def run(x, r):
        observation = Stated(kd.Linear(H), 1.0, r)
        found = [scheme(key, x, jnp.asarray(Y), observation) for scheme in schemes]
        return [a for a, _ in found], [info.ok for _, info in found]

    (found, ok), (expected, _) = (quick(lambda x, r=r: run(x, r))(x) for r in (build(), matrix))
    assert all(ok)
    for scheme, a, b in zip(schemes, found, expected, strict=True):
        # perturbations in other coordinates are other draws, of the same mean
        drawn = name == "products" and isinstance(scheme, kd.EnKF)
        a, b = (v.mean(axis=0) if drawn else v for v in (a, b))
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_perturbations_have_the_covariance_of_products(x64, key):
    """Over many draws, an EnKF by products alone has the posterior covariance of its matrix."""
    x = jax.random.normal(key, (6, 3))

    def spread(r):
        def one(key):
            a, _ = kd.EnKF()(key, x, jnp.asarray(Y), Stated(kd.Linear(H), 1.0, r))
            return jnp.cov(a.T)

        return np.asarray(quick(jax.vmap(one))(jax.random.split(key, 400)))

    build, matrix = OPERATORS["products"]
    found, expected = spread(build()), spread(matrix)
    error = (found.std(axis=0) ** 2 + expected.std(axis=0) ** 2) ** 0.5 / 20
    assert np.abs((found.mean(axis=0) - expected.mean(axis=0)) / error).max() < 4


def test_no_matrix_of_all_components_is_formed(key):
    n, m = 6, 200
    x, h = jnp.ones((n, 3)), kd.Linear(np.ones((m, 3)))
    beside = 0.3 * jnp.ones(m - 1)
    tridiagonal = lineax.TridiagonalLinearOperator(jnp.ones(m), beside, beside)
    tags = PSD, lineax.unit_diagonal_tag
    smooth = lineax.FunctionLinearOperator(lambda x: x + 0.3 * x[::-1], space(m, "float32"), tags)
    cases = [(scheme, tridiagonal) for scheme in (kd.EnKF(), kd.ETKF(), kd.EnKPF())]
    for scheme, r in [*cases, (kd.EnKF(), smooth), (kd.ETKF(), smooth)]:

        def run(x, scheme=scheme, r=r):
            return scheme(key, x, jnp.zeros(m), Stated(h, 1.0, r))[0]

        assert not with_two_long_axes(jax.make_jaxpr(run)(x), m)


def test_products_converge_in_single_precision(key):
    """Many components, whose solution float32 knows to few digits."""
    m, n = 2000, 6
    place = np.abs(np.arange(50)[:, None] - np.arange(50))
    one = np.exp(-place / 2.0)  # condition 15, of the product of two 240

    def product(v):
        k = jnp.asarray(one, v.dtype)
        return jnp.ravel(k[:40, :40] @ v.reshape(40, 50) @ k)

    tags = PSD, lineax.unit_diagonal_tag
    r = lineax.FunctionLinearOperator(product, space(m, "float32"), tags)
    rows = np.random.default_rng(1).normal(size=(n, m))
    white = quick(lambda rows: whitened(rows, covariance_of_operator(r, m, rows.dtype)))(
        jnp.asarray(rows, "float32")
    )
    left, right = np.linalg.inv(one[:40, :40]), np.linalg.inv(one)
    solved = np.stack([np.ravel(left @ row.reshape(40, 50) @ right) for row in rows])
    expected = rows @ solved.T
    np.testing.assert_allclose(white @ white.T, expected, atol=1e-4 * np.max(expected))


def test_what_is_not_definite_is_a_failure_and_not_an_answer(key):
    operator = lineax.FunctionLinearOperator(lambda x: -x, space(dtype="float32"), PSD)
    x = jax.random.normal(key, (5, 3))
    found, info = kd.ETKF()(key, x, jnp.zeros(M), Stated(kd.Linear(H), 1.0, operator))
    assert not info.ok and np.isfinite(found).all()


def test_what_cannot_be_used_is_named(key):
    x, y = jnp.ones((5, 3)), jnp.zeros(M)
    where = kd.Localisation(np.arange(3.0), np.arange(M) / 4, 1.0)
    products = lineax.FunctionLinearOperator(kronecker, space(dtype="float32"), PSD)
    untagged = lineax.FunctionLinearOperator(kronecker, space(dtype="float32"))
    cases = [
        (kd.EnKPF(), products, "with a factor for EnKPF.* EnKF and ETKF take it"),
        (kd.LETKF(where), products, "a scheme localises .* blocks"),
        (kd.EnKF(), untagged, "with the tag `lineax.positive_semidefinite_tag`"),
        (kd.ETKF(), lineax.IdentityLinearOperator(space(3)), r"vectors of shape \(12,\)"),
    ]
    for scheme, r, message in cases:
        with pytest.raises(ValueError, match=message):
            scheme(key, x, y, Stated(kd.Linear(H), 1.0, r))
    with pytest.raises(TypeError, match="to return an array or a `lineax` operator, got list"):
        kd.ETKF()(key, x, y, Stated(kd.Linear(H), 1.0, [1.0]))


@pytest.mark.parametrize("name", first_of_each_class())
def test_every_scheme_takes_a_tridiagonal_operator_or_says_what_it_takes(name, key):
    p, (d, m) = problem(name), size(name)
    beside = 0.2 * jnp.ones(m - 1)
    r = lineax.TridiagonalLinearOperator(jnp.ones(m), beside, beside)
    scheme, observation = SCHEMES[name].build(p), Stated(kd.Linear(p.matrix), 1.0, r)

    def call(x):
        return scheme(key, x, jnp.zeros(m), observation)[0]

    x = jax.ShapeDtypeStruct((5, d), jnp.dtype("float32"))
    if SCHEMES[name].localised:
        with pytest.raises(ValueError, match=r"a scheme localises .* blocks"):
            jax.eval_shape(call, x)
    else:
        assert jax.eval_shape(call, x).shape == (5, d)


@pytest.mark.parametrize("name", ["tridiagonal", "products"])
def test_gradients_are_those_of_the_matrix(x64, name):
    rows, (build, matrix) = jnp.asarray(RNG.normal(size=(5, M))), OPERATORS[name]

    def total(factor, operator):
        # the sign of a factor is not known to the operator
        r = lineax.TaggedLinearOperator(factor * operator, PSD)
        white = whitened(rows * factor**2, covariance_of_operator(r, M, rows.dtype))
        return jnp.sum(jnp.sin(white @ white.T))

    whole = lineax.MatrixLinearOperator(jnp.asarray(matrix))
    found, expected = (
        quick(jax.grad(lambda f, r=r: total(f, r)))(jnp.asarray(1.3)) for r in (build(), whole)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-7)
