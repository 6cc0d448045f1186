"""What a checkpoint knows a simulator by: another function is another, another process is not."""

from __future__ import annotations

import pytest
from simulator_functions import FUNCTIONS, SAME, compiled, made
from sweep_problem import python_running

import kdediff_jax as kd
from kdediff_jax.simulators.identity import digest_of_simulators


def digest(simulator):
    return digest_of_simulators((kd.HostDynamics(simulator, 0.1), None))


def test_each_has_a_digest_of_its_own_which_comes_again():
    digests = {name: digest(make()) for name, make in FUNCTIONS.items()}
    assert {name: digest(make()) for name, make in FUNCTIONS.items()} == digests
    assert len(set(digests.values())) == len(digests)


def test_what_is_not_read_and_how_it_is_run_do_not_count():
    assert digest(compiled(SAME.format(0.3, 1))) == digest(compiled(SAME.format(0.3, 2)))
    one = kd.MemberSimulator(made())
    assert digest(one) == digest(kd.MemberSimulator(made(), workers=3, processes=True))
    assert digest(one) != digest(kd.ArraySimulator(made()))


CHILD = """
import kdediff_jax as kd
from kdediff_jax.simulators.identity import digest_of_simulators
from simulator_functions import FUNCTIONS
for make in FUNCTIONS.values():
    print(digest_of_simulators((kd.HostDynamics(make(), 0.1), None)))
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_finds_the_same(seed, monkeypatch):
    """Sets have another order there, everything another address."""
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    with python_running(CHILD) as process:
        lines = process.communicate(timeout=120)[0].split()
    assert lines == [digest(make()) for make in FUNCTIONS.values()]


def test_a_program_is_known_by_its_words_and_its_file(tmp_path):
    script = tmp_path / "model.sh"
    script.write_text("#!/bin/sh\n")
    program = kd.ProgramSimulator([str(script), "{t}"])
    before = digest(program)
    assert digest(kd.ProgramSimulator([str(script), "{t}"], timeout=3, workers=2)) == before
    assert digest(kd.ProgramSimulator([str(script), "{seed}"])) != before
    assert digest(kd.ProgramSimulator([str(script), "{t}"], read="other.npy")) != before
    script.write_text("#!/bin/sh\nexit 1\n")
    assert digest(program) != before
