"""What no analysis may do, whatever it is given: cases by hypothesis, for each of `SCHEMES`.

A hundred cases of a scheme in the quick run, over 20,000 in all with `-m slow`, both repeatable. A
case is a handful of numbers, from which NumPy draws the arrays: one compiled program a scheme and
dtype serves all.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from schemes import MEMBERS, SCHEMES, changed, problem, run, size

NAN, INF = float("nan"), float("inf")
QUICK, SLOW = 100, 720  # of each scheme; of each and both dtypes: 20,160
FAR = 1000.0  # spreads (and bandwidths) from the forecast's mean: no analysis lies there


class Bad(NamedTuple):
    """A coordinate of a member: not finite, or (a number) that many spreads from the others."""

    member: int
    coordinate: int
    value: float

    @property
    def size(self):
        return abs(self.value)


class Case(NamedTuple):
    """One analysis; every power is of ten.

    Attributes:
        seed: of the members' and the noise's normal numbers.
        state, obs: powers of the units of each coordinate and component.
        noise: power of the noise's standard deviation, in that of the scheme's own problem.
        offset: mean of the members, in spreads.
        collapse: "all" members equal, "half" of them copies of one, a "coordinate" constant.
        bad: bad members.
        missing: which components of y are NaN.
        limit: of coordinate 0 in spreads, above which component 1 has no prediction.
        distance: of y from the mean prediction, in standard deviations of the noise.
        bandwidths: powers of the two bandwidths, where they are numbers, in those of the problem.
    """

    seed: int
    state: tuple[float, ...]
    obs: tuple[float, ...]
    noise: float = 0.0
    offset: float = 0.0
    collapse: str | None = None
    bad: tuple[Bad, ...] = ()
    missing: tuple[bool, ...] = (False,)
    limit: float = INF
    distance: float = 0.0
    bandwidths: tuple[float, float] = (0.0, 0.0)

    def units(self):
        return 10.0 ** np.array(self.state), 10.0 ** np.array(self.obs)

    def problem(self, name):
        own = problem(name)
        own = own._replace(
            std=own.std * 10.0**self.noise,
            state_units=own.state_units * 10.0 ** self.bandwidths[0],
            obs_units=own.obs_units * 10.0 ** self.bandwidths[1],
        )
        limit = np.array((self.limit + self.offset) * self.units()[0][0])
        return own.scaled(*self.units())._replace(limit=limit)

    def members(self, name):
        """Return the members before any is bad, and as they come."""
        d, _ = size(name)
        x = np.random.default_rng(self.seed).normal(size=(MEMBERS, d)) + self.offset
        if self.collapse == "all":
            x = np.tile(x[:1], (MEMBERS, 1))
        elif self.collapse == "half":
            x[::2] = x[0]
        elif self.collapse == "coordinate":
            x[:, 0] = x[0, 0]
        honest = x * self.units()[0]
        for bad in self.bad:
            x = changed(x, ((bad.member, bad.coordinate), bad.value + self.offset))
        return honest, x * self.units()[0]

    def measurement(self, name, honest):
        own, rng = self.problem(name), np.random.default_rng([self.seed, 1])
        away = self.distance + rng.normal(size=own.std.shape)
        y = own.matrix @ honest.mean(axis=0) + own.std * away
        return np.where(self.missing, NAN, y)


powers = st.floats(-9, 9, width=32)


def bad_members(d):
    values = st.sampled_from([NAN, INF, -INF]) | st.builds(
        lambda sign, power: sign * 10.0**power, st.sampled_from([-1, 1]), st.floats(4, 30)
    )
    one = st.builds(Bad, st.integers(0, MEMBERS - 1), st.integers(0, d - 1), values)
    lost = st.integers(MEMBERS // 2, MEMBERS).map(lambda n: tuple(Bad(i, 0, NAN) for i in range(n)))
    return st.just(()) | st.lists(one, min_size=1, max_size=8).map(tuple) | lost


@st.composite
def cases(draw, name):
    d, m = size(name)
    return Case(
        seed=draw(st.integers(0, 2**16)),
        state=draw(st.tuples(*d * [powers]) | powers.map(lambda p: (p,) * d)),
        obs=draw(st.tuples(*m * [powers]) | powers.map(lambda p: (p,) * m)),
        noise=draw(st.just(0.0) | st.floats(-6, 4)),
        offset=draw(st.sampled_from([0.0, 1.0, -300.0])),
        collapse=draw(st.sampled_from([None, None, None, "all", "half", "coordinate"])),
        bad=draw(bad_members(d)),
        limit=draw(st.sampled_from([INF, INF, INF, 1.0, -1.0])),
        missing=draw(st.just(m * (False,)) | st.tuples(*m * [st.booleans()])),
        distance=draw(st.just(0.0) | st.floats(0, 12).map(lambda p: 10.0**p)),
        bandwidths=draw(st.just((0.0, 0.0)) | st.tuples(*2 * [st.floats(-6, 6)])),
    )


def masked_exactly(case, forecast):
    """Return how many members must be masked, None where that is a matter of taste.

    A tenth of the finite members, if far, are exceptions; more may be a mode of their own. In an
    ensemble without spread nothing says what is far, and who lacks a component may lack all.
    """
    finite = np.isfinite(forecast).all(axis=1)
    far = {bad.member for bad in case.bad if np.isfinite(bad.value)}
    far = {member for member in far if finite[member]}
    if case.limit < INF or (far and (len(far) > finite.sum() // 10 or case.collapse)):
        return None
    return int((~finite).sum()) + len(far)


def implausible(case, name, honest, analysis):
    """Return whether a member lies further from the honest ones than anything can pull it."""
    own = case.problem(name)
    width = honest.std(axis=0) + (0.4 * own.state_units if name.startswith("kde") else 0)
    rounding = 1e3 * np.finfo(analysis.dtype).eps * np.abs(honest).max(axis=0)
    return (np.abs(analysis - honest.mean(axis=0)) > FAR * width + rounding).any()


def violations(name, case, dtype):
    """Return what an analysis has done that none may do."""
    honest, forecast = case.members(name)
    with np.errstate(over="ignore"):
        forecast = forecast.astype(dtype)
    y = case.measurement(name, honest)
    analysis, info = run(name, dtype, seed=case.seed, forecast=forecast, y=y, of=case.problem(name))
    exact = masked_exactly(case, forecast)
    lost = np.full(forecast.shape[1], MEMBERS - info.num_masked < 2)
    if SCHEMES[name].localised:  # in its places alone
        lost = np.isfinite(forecast).sum(axis=0) < 2
    kept = np.array_equal(analysis[:, lost], forecast[:, lost], equal_nan=True)
    wrong = {
        "shape": analysis.shape != forecast.shape or info.mean.shape != forecast.shape[1:],
        "dtype": {analysis.dtype, info.mean.dtype, info.ess.dtype} != {np.dtype(dtype)},
        "a member that is not finite goes on": not np.isfinite(analysis[:, ~lost]).all(),
        "lost, and not as it came": not kept,
        "ok though lost or mostly masked": info.ok and 2 * info.num_masked > MEMBERS,
        "ok without a mean": info.ok and not np.isfinite(info.mean).all(),
        "masked miscounted": exact is not None and info.num_masked != exact,
        "sound, not ok": exact == 0 and not info.ok,
        "half are sound, not ok": exact and 2 * exact <= MEMBERS and not info.ok,
        "implausible": info.ok and exact is not None and implausible(case, name, honest, analysis),
        "ess": info.ok and not 1 - 1e-4 <= info.ess <= MEMBERS * (1 + 1e-4),
    }
    return [what for what, is_so in wrong.items() if is_so]


def found_before(name):
    """Return cases that have broken a promise once, as small as they are."""
    d, m = size(name)
    plain = Case(seed=0, state=d * (0.0,), obs=m * (0.0,))
    dead = tuple(Bad(member, 0, NAN) for member in range(3))
    constant = plain._replace(seed=2589, collapse="coordinate", noise=-3.0, distance=1e4)
    return [
        plain._replace(bad=(*dead, Bad(14, 0, 1e4))),  # the dead stood in the way of the far
        plain._replace(bad=(*dead, Bad(14, 0, 1e10))),
        plain._replace(bad=(*dead, Bad(14, 0, 1e30)), state=d * (8.0,)),
        constant,
    ]


def check(name, dtype, examples):
    def holds(case):
        wrong = violations(name, case, dtype)
        assert not wrong, f"{name}, {dtype}: {wrong}"

    test = given(cases(name))(holds)
    for case in found_before(name):
        test = example(case)(test)
    test = seed(crc32(f"{name} {dtype}".encode()))(test)  # other cases for each
    settings(
        max_examples=examples, database=None, deadline=None, suppress_health_check=[*HealthCheck]
    )(test)()


@pytest.mark.parametrize("name", SCHEMES)
def test_no_case_breaks_a_promise(name):
    check(name, "float32", QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMES)
def test_no_case_of_many_breaks_a_promise(name, dtype):
    check(name, dtype.name, SLOW)
