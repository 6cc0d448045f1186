"""The examples in the docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import sys

import pytest

import kdediff_jax as kd


@pytest.mark.parametrize("name", ["HostDynamics", "ProgramSimulator"])
def test_examples(name):
    owner = getattr(kd, name)
    tests = doctest.DocTestFinder(recurse=False).find(owner, name, sys.modules[owner.__module__])
    (test,) = [test for test in tests if test.examples]
    assert len(test.examples) > 5
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said = []
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
