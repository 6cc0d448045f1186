"""Lorenz-63 in NumPy, for `HostDynamics`, and as a program: state.npy to result.npy.

    python lorenz63.py INTERVAL [FAULT_RATE SEED]

A fault is an exception, a status, a NaN, 1e30 or a hang.
"""

from __future__ import annotations

import sys
import time

import numpy as np


def tendency(X):
    x, y, z = X[..., 0], X[..., 1], X[..., 2]
    return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], axis=-1)


def integrate(X, interval, substeps=10):
    h = interval / substeps
    for _ in range(substeps):
        k1 = tendency(X)
        k2 = tendency(X + h / 2 * k1)
        k3 = tendency(X + h / 2 * k2)
        k4 = tendency(X + h * k3)
        X = X + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return X


def step(rng, X, t, interval):
    """Step one member, or all at once."""
    return integrate(X, interval)


def noisy(rng, x, t, interval):
    """Step one member, with noise."""
    return integrate(x, interval) + 0.1 * rng.normal(size=x.shape)


def faulty_step(rng, x, t, interval):
    """Step one member; of a hundred, five fail, each in some way."""
    if rng.random() < 0.05:
        kind = rng.integers(4)
        if kind == 0:
            raise RuntimeError("the solver did not converge")
        if kind == 1:
            raise TimeoutError("too slow")
        return np.array([x[0], [np.nan, 1e30][kind - 2], x[2]])
    return integrate(x, interval)


def z_of(X):
    """Measure z without noise, of one member or all."""
    return X[..., 2:]


def noisy_z(rng, X, t):
    return X[..., 2:] + 2.0 * rng.normal(size=X[..., 2:].shape)


def main():
    x, interval = np.load("state.npy"), float(sys.argv[1])
    result = integrate(x, interval)
    if len(sys.argv) > 2:
        rng = np.random.default_rng(int(sys.argv[3]))
        if rng.random() < float(sys.argv[2]):
            kind = rng.integers(5)
            if kind == 0:
                raise RuntimeError("the solver did not converge")
            if kind == 1:
                sys.exit(7)
            if kind == 2:
                time.sleep(600)
            result[1] = [np.nan, 1e30][kind - 3]
    np.save("result.npy", result)


if __name__ == "__main__":
    main()
