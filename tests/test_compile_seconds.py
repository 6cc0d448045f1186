"""The table of compile seconds at the end of a run of the tests."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from compile_seconds import spent, table


def test_a_compilation_is_counted():
    before = spent.copy()
    jax.jit(lambda x: jnp.sin(x) * 0.12345)(jnp.ones(3)).block_until_ready()
    assert spent["programs"] > before["programs"]
    assert spent["compile"] > before["compile"]


def test_the_table_adds_up_tests_and_begins_with_the_dearest():
    cheap = ("enkf", {"trace": 0.1, "lower": 0.1, "compile": 1.0, "programs": 1})
    dear = ("enkpf", {"trace": 0.2, "lower": 0.1, "compile": 3.0, "programs": 1})
    head, first, second = (line.split() for line in table([cheap, dear, dear]))
    assert head == ["scheme", "trace", "lower", "compile", "programs"]
    assert first == ["enkpf", "0.4", "0.2", "6.0", "2"]
    assert second == ["enkf", "0.1", "0.1", "1.0", "1"]


def test_without_schemes_there_is_no_table():
    assert table([]) == []
    assert table([("enkf", {})]) == []
