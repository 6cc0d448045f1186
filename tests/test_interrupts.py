"""A Ctrl-C that falls into a callback of the garbage collector ends the work all the same."""

from __future__ import annotations

import sys
import threading

from sweep_problem import python_running

from kdediff_jax import _interrupts

SWALLOWED = """
import gc, signal, time
from kdediff_jax._interrupts import heard
def interrupted(phase, info):
    gc.callbacks.clear()
    signal.raise_signal(signal.SIGINT)
try:
    with heard():
        gc.callbacks.append(interrupted)
        gc.collect()
        print("went on", flush=True)
        time.sleep(30)
except KeyboardInterrupt:
    print("heard", flush=True)
"""

SWEEP = """
import gc, signal
from kdediff_jax.sweeping import sweep
from sweep_problem import GRID, ONE, scores
def interrupted(phase, info):
    gc.callbacks.clear()
    signal.raise_signal(signal.SIGINT)
def progress(done, total):
    if done == 2:
        gc.callbacks.append(interrupted)
        gc.collect()
try:
    sweep(scores, {**GRID, "seed": range(4000)}, batch_size=1, devices=ONE, progress=progress)
except KeyboardInterrupt:
    print("heard", flush=True)
"""


def output(script):
    with python_running(script) as process:
        return process.communicate(timeout=120)[0]


def test_a_swallowed_interrupt_is_sent_again():
    assert output(SWALLOWED) == "went on\nheard\n"


def test_a_sweep_hears_it():
    assert output(SWEEP) == "heard\n"


def test_other_exceptions_and_other_threads_are_left_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)

    class Failing:
        def __del__(self):
            raise ValueError("as ever")

    with _interrupts.heard():
        Failing()
        thread = threading.Thread(target=lambda: _interrupts.heard().__enter__())
        before = sys.unraisablehook
        thread.start()
        thread.join()
        assert sys.unraisablehook is before
    assert [about.exc_type for about in seen] == [ValueError]
    assert sys.unraisablehook == seen.append
