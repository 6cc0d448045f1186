"""A Ctrl-C that falls into a callback of the garbage collector ends the work all the same."""

from __future__ import annotations

import sys
import threading

import pytest
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


COMPILING = """
import os, signal, sys, threading, time
from kdediff_jax._interrupts import undisturbed
def compiling():
    time.sleep(1.0)
    print("compiled", flush=True)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    undisturbed(compiling)
except KeyboardInterrupt:
    print("heard", flush=True)
"""


def test_a_compilation_is_waited_for_before_the_process_ends():
    assert output(COMPILING) == "heard\ncompiled\n"


def test_undisturbed_gives_the_result_or_the_error():
    assert (
        _interrupts.undisturbed(lambda: threading.current_thread()) is not threading.main_thread()
    )
    with pytest.raises(KeyError, match="missing"):
        _interrupts.undisturbed(lambda: {}["missing"])
