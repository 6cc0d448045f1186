"""Would skipping far tiles pay? Shares of tiles needed along the flow, and a prototype's time.

python benchmarks/speed/far_tiles.py                 writes results/far_tiles.json
python benchmarks/speed/far_tiles.py NAME:MEMBERS    one case, writes nothing

Members and queries are sorted by a k-d split (halved at the median of the widest coordinate), so
that a tile is a small box. A tile of centres may be left out for a tile of queries where even its
nearest corner weighs too little:

    max b - D^2 / (2 tau^2) < L - log(N) - 16,

with D the distance of the two boxes and L the least, over the queries of the tile, of the largest
logit among every 64th centre, a lower bound of the largest of all. What is left out is then below
e^-16 = 1.1e-7 of each query's sum together, which is float32's rounding.

Queries are the flow's own points: x(tau) of the default flow stopped at tau, on the mixture of
`lorenz63-z` or `lorenz96-10` (cycle 50) drawn anew with N members, bandwidth shrunk as
N^(-1 / (d + 4)). "needed" is the share of tiles left at each of 16 steps of equal length in
log tau; "at best" is what the whole flow would gain if skipping cost nothing. The prototype skips
by `lax.cond` in the scan over tiles, as the core would, and is timed against the core at the end
of the flow, where it skips most, and at its middle.
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import kdediff_jax as kd
from benchmarks.shared.records import save
from benchmarks.shared.runs import mixture
from benchmarks.shared.timing import interleaved_medians
from kdediff_jax import pairwise

CASES = (("lorenz63-z", 4096), ("lorenz63-z", 16384), ("lorenz96-10", 16384))
STEPS = 16
TILE = (256, 256)  # smaller than the core's, so that there is something to skip
COARSE = 64
CLOSE = 16.0


def large_mixture(name, n):
    """Return n members drawn from a mixture of 1000, log-weights, and a bandwidth for n."""
    centres, log_weights, bandwidth = mixture(name, 1000)
    d = centres.shape[1]
    members, _ = kd.ExactMixture()(jax.random.key(1), n, centres, log_weights, bandwidth)
    return members, jnp.zeros(n), float(bandwidth) * (n / 1000) ** (-1 / (d + 4))


def split(points, size):
    """Return the order that puts the points of each box of at most `size` next to each other."""

    def halves(index):
        if len(index) <= size:
            return [index]
        part = points[index]
        axis = int(np.argmax(np.ptp(part, axis=0)))
        order = index[np.argsort(part[:, axis], kind="stable")]
        middle = len(order) // 2
        return halves(order[:middle]) + halves(order[middle:])

    return np.concatenate(halves(np.arange(len(points))))


def boxes(points, size):
    """Return lower and upper corners of the tiles."""
    tiles = points.reshape(-1, size, points.shape[1])
    return tiles.min(axis=1), tiles.max(axis=1)


def needed(x, c, tau):
    """Return which tiles [queries, centres] the rule keeps, for sorted points."""
    (low, high), (below, above) = boxes(x, TILE[0]), boxes(c, TILE[1])
    gap = np.maximum(0, np.maximum(below[None] - high[:, None], low[:, None] - above[None]))
    best = -(gap**2).sum(axis=2) / (2 * tau**2)
    nearest = np.full(len(x), -np.inf)
    for centre in np.array_split(c[::COARSE], max(1, len(c) // COARSE // 64)):
        logits = -((x[:, None] - centre[None]) ** 2).sum(axis=2) / (2 * tau**2)
        nearest = np.maximum(nearest, logits.max(axis=1))
    least = nearest.reshape(-1, TILE[0]).min(axis=1)
    return best >= least[:, None] - np.log(len(c)) - CLOSE


@jax.jit
def skipping(x, c, tau, keep):
    """Return the softmax-weighted means, computing only the tiles that `keep` names."""
    blocks = c.reshape(-1, TILE[1], c.shape[1]).swapaxes(1, 2)
    carried = jnp.concatenate([c, jnp.ones((len(c), 1), c.dtype)], axis=1)
    carried = carried.reshape(-1, TILE[1], carried.shape[1])

    def one(tile):
        queries, wanted = tile

        def add(carry, block):
            c_t, values = block
            top, total = carry
            c_t, _ = pairwise._own_array(c_t, jnp.zeros(c_t.shape[1], c_t.dtype))
            logits = -0.5 / tau**2 * pairwise._squared_distance(queries, c_t)
            new = jnp.maximum(top, logits.max(axis=1))
            p = jnp.exp(logits - new[:, None])
            grown = total * jnp.exp(top - new)[:, None]
            return new, grown + jnp.matmul(p, values, precision="highest")

        def step(carry, block):
            keep_it, *rest = block
            return lax.cond(keep_it, add, lambda carry, _: carry, carry, tuple(rest)), None

        start = jnp.full(len(queries), -1e30), jnp.zeros((len(queries), carried.shape[2]))
        (_, total), _ = lax.scan(step, start, (wanted, blocks, carried))
        return total[:, :-1] / total[:, -1:]

    tiles = x.reshape(-1, TILE[0], x.shape[1])
    return lax.map(one, (tiles, keep)).reshape(x.shape)


@jax.jit
def core(x, c, tau):
    """Return the same by the core."""
    return pairwise.softmax_shift(x, c, jnp.zeros(len(c)), tau)[0] + x


def prototype(x, c, tau, keep, spread):
    """Return the prototype's time against the core's, and how far its means are off."""
    args = jnp.asarray(x), jnp.asarray(c), jnp.asarray(tau, c.dtype)
    keep = jnp.asarray(keep)
    error = np.abs(skipping(*args, keep) - core(*args)).max()
    calls = {"core": lambda: core(*args), "skipping": lambda: skipping(*args, keep)}
    medians = interleaved_medians(calls, repeats=9)
    return {
        "core / skipping": round(medians["core"] / medians["skipping"], 2),
        "core milliseconds": round(1e3 * medians["core"], 1),
        "largest difference / spread": float(error / spread),
    }


def case(name, n):
    """Return the shares along the flow and the prototype's times."""
    members, log_weights, h = large_mixture(name, n)
    members = members - members.mean(axis=0)
    c = np.asarray(members)[split(np.asarray(members), TILE[1])]
    spread = float(np.sqrt(c.var(axis=0).mean() + h**2))
    flow = kd.ProbabilityFlow(schedule=kd.VarianceExploding(tau_max=5 * spread))
    widths = np.geomspace(4.5 * spread, h, STEPS)
    shares, times = [], {}
    for step, tau in enumerate(widths):
        x, _ = flow(jax.random.key(2), n, jnp.asarray(c), log_weights, jnp.asarray(tau, c.dtype))
        x = np.asarray(x)
        x = x[split(x, TILE[0])]
        keep = needed(x, c, tau)
        shares.append(round(float(keep.mean()), 4))
        if step in (STEPS // 2, STEPS - 1):
            found = prototype(x, c, tau, keep, spread)
            times[f"tau / h = {tau / h:.3g}"] = {"needed": shares[-1], **found}
        print(name, n, f"tau/h {tau / h:.3g} needed {shares[-1]}", flush=True)
    row = {"d": c.shape[1], "h": h, "tau / h": (widths / h).round(3).tolist(), "needed": shares}
    row |= {"at best": round(1 / float(np.mean(shares)), 2), "prototype": times}
    print(name, n, row["at best"], times, flush=True)
    return row


if __name__ == "__main__":
    chosen = [case.split(":") for case in sys.argv[1:]] or CASES
    body = {f"{name}:{n}": case(name, int(n)) for name, n in chosen}
    settings = {"tile": TILE, "steps": STEPS, "coarse": COARSE, "close": CLOSE}
    save("far_tiles", settings, {"cases": body}, partial=chosen is not CASES)
