"""Lorenz-63 as a program without NumPy, which starts at once: in.txt to out.txt.

    python -S host_lorenz63_plain.py INTERVAL FAULT_RATE SEED

A fault is an exception, a status, a hang, a NaN or 1e30.
"""

from __future__ import annotations

import random
import sys
import time


def tendency(x, y, z):
    return 10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z


def moved(state, h, slope):
    return [a + h * b for a, b in zip(state, slope, strict=True)]


def integrate(state, interval, substeps=10):
    h = interval / substeps
    for _ in range(substeps):
        k1 = tendency(*state)
        k2 = tendency(*moved(state, h / 2, k1))
        k3 = tendency(*moved(state, h / 2, k2))
        k4 = tendency(*moved(state, h, k3))
        slopes = zip(k1, k2, k3, k4, strict=True)
        state = moved(state, h / 6, [a + 2 * b + 2 * c + d for a, b, c, d in slopes])
    return state


def fault(seed, rate):
    """Return the kind of fault of a seed, None for none."""
    dice = random.Random(seed)
    return dice.randrange(5) if dice.random() < rate else None


def main():
    with open("in.txt") as file:
        state = [float(word) for word in file.read().split()]
    result = integrate(state, float(sys.argv[1]))
    kind = fault(int(sys.argv[3]), float(sys.argv[2]))
    if kind == 0:
        raise RuntimeError("the solver did not converge")
    if kind == 1:
        sys.exit(7)
    if kind == 2:
        time.sleep(600)
    if kind is not None and kind > 2:
        result[1] = [float("nan"), 1e30][kind - 3]
    with open("out.txt", "w") as file:
        file.write("\n".join(map(repr, result)))


if __name__ == "__main__":
    main()
