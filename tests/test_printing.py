"""How filters print: numbers in words, one line where they fit, traced or not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from schemes import SCHEMES, problem

import kdediff_jax as kd
from kdediff_jax._printing import WIDTH, printed

NAMESPACE = {name: getattr(kd, name) for name in kd.__all__ if name[0].isupper()}


def test_a_few_settings_are_one_line():
    assert (
        repr(kd.SIR(jitter=0.3))
        == "SIR(jitter=0.3, resampling='systematic', jittered='duplicates')"
    )
    assert "inflation=ConstantInflation(factor=1.05)" in repr(kd.EnKF(inflation=1.05))
    assert repr(kd.GaussianObservation(kd.Select([2]), 2.0)).endswith("indices=(2,)), std=2)")
    assert "interval=0.1, substeps=10" in repr(kd.Lorenz63(interval=0.1, substeps=10))


def test_what_all_filters_have_is_shown_where_it_is_not_as_usual():
    assert "safeguards" not in repr(kd.EnKPF()) and "gross_error" not in repr(kd.EnKF())
    assert "gross_error=5" in repr(kd.EnKF(gross_error=5))
    assert "far_member=30" in repr(kd.EnKPF(safeguards=kd.Safeguards(far_member=30)))


@pytest.mark.parametrize("name", list(SCHEMES))
def test_every_scheme_prints_within_its_lines_and_without_dtypes(name):
    scheme = SCHEMES[name].build(problem(name))
    lines = repr(scheme).splitlines()
    assert lines[0].startswith(type(scheme).__name__) and max(map(len, lines)) <= WIDTH
    assert str(scheme) == repr(scheme) and "Array(" not in repr(scheme)


def test_the_numbers_are_the_settings(dtype):
    rule = kd.SpreadCorrection(log_spread_std=jnp.asarray(0.1, dtype), outlier_threshold=4.5)
    text = repr(kd.EnKPF(spread_correction=rule, kalman_share=0.25))
    assert "log_spread_std=0.1," in text and "outlier_threshold=4.5" in text
    built = eval(printed(rule), NAMESPACE)
    assert built.log_spread_std == rule.log_spread_std


def test_tracers_long_arrays_and_lost_ones_are_their_shape(dtype):
    seen = []

    def build(h):
        seen.append(repr(kd.KDEDiffusion(h, 5.0)))
        return h

    jax.jit(build)(jnp.ones((), dtype))
    jax.vmap(build)(jnp.ones(3, dtype))
    jax.grad(build)(jnp.ones((), dtype))
    assert len(seen) == 3 and all(f"value={dtype}[]" in text for text in seen)
    where = kd.Localisation(np.arange(40.0), np.arange(9.0), 2.0)
    assert "state=float32[40]" in repr(kd.LETKF(where)) or dtype == "float64"
    lost = jnp.ones(2, dtype)
    lost.delete()
    assert printed(lost) == f"{dtype}[2]"
    assert printed(jax.random.key(0)) == "key<fry>[]"


def test_numbers_are_the_shortest_that_give_them_back():
    numbers = [0.1, 1e-9, 4000.0, 1 / 3, float("inf"), float("nan")]
    texts = [printed(np.float32(number)) for number in numbers]
    assert texts == ["0.1", "1e-09", "4000", "0.33333334", "inf", "nan"]
    assert printed(np.eye(2)) == "[[1, 0], [0, 1]]" and printed(np.zeros(0)) == "[]"
    assert printed((jnp.sin, None, "a", [1.5])) == "(sin, None, 'a', [1.5])"
