"""The choice of the batch: it fits into the memory there is."""

from typing import NamedTuple

import pytest
from sweep_problem import GRID, ONE, assert_same, scores

from kdediff_jax.sweeping import program, sweep
from kdediff_jax.sweeping.grid import check_axes


def test_memory_caps_the_batch():
    axes = check_axes(GRID)
    compiled = program.Program(scores, tuple(ONE), axes)
    for points in (1, 2, 3):
        memory = compiled.bytes(points)
        size = program.choose_batch(compiled, 12, tuple(ONE), memory)
        assert 1 <= size <= points
        assert compiled.bytes(size) <= memory
    result = sweep(scores, GRID, memory=compiled.bytes(1), devices=ONE)
    assert result.batch_size == 1
    assert_same(result.values["steps"], sweep(scores, GRID, devices=ONE).values["steps"])


class Accelerator(NamedTuple):
    """A device that is no CPU, as far as the choice of the batch can see."""

    stats: dict | None
    platform: str = "gpu"

    def memory_stats(self):
        return self.stats


class Sized(NamedTuple):
    """A program that needs a little more than in proportion."""

    per_point: int
    num: int

    def bytes(self, batch_size):
        return int(self.per_point * (batch_size // self.num) ** 1.1)


@pytest.mark.parametrize("num", [1, 4])
@pytest.mark.parametrize("stats", [None, {}, {"bytes_limit": 1000}])
def test_batch_fills_half_an_accelerator(stats, num):
    limit = 500 if stats else program.DEFAULT_MEMORY
    devices = (Accelerator(stats),) * num
    compiled = Sized(limit // 10, num)
    size = program.choose_batch(compiled, 1000, devices, None)
    assert size % num == 0
    assert compiled.bytes(size) <= limit < compiled.bytes(size + 2 * num)
    assert program.choose_batch(compiled, 3, devices, None) == (3 if num == 1 else 4)
    with pytest.raises(ValueError, match="memory: expected at least"):
        program.choose_batch(Sized(limit + 1, num), 3, devices, None)
