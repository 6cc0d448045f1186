"""What each scheme's programs cost to compile in this run of the tests, as a table at its end.

JAX reports how long it traces, lowers and compiles; the seconds that pass within a test of a scheme
(one parametrised by its `name`) are that scheme's. Nothing is compiled for it.
"""

from __future__ import annotations

from collections import Counter

import jax
import pytest
from schemes import SCHEMES

STAGES = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
spent: Counter[str] = Counter()  # seconds of each stage in this process so far


def _listen(event: str, seconds: float, **_) -> None:
    stage = STAGES.get(event)
    if stage is not None:
        spent[stage] += seconds
        spent["programs"] += stage == "compile"


jax.monitoring.register_event_duration_secs_listener(_listen)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Note what a test of a scheme has cost; properties travel with a worker's reports."""
    before = spent.copy()
    try:
        return (yield)
    finally:
        name = getattr(item, "callspec", None) and item.callspec.params.get("name")
        if isinstance(name, str) and name in SCHEMES:
            item.user_properties.append(("compiled", (name, dict(spent - before))))


def pytest_terminal_summary(terminalreporter):
    """Print the table."""
    reports = [r for key in ("passed", "failed") for r in terminalreporter.stats.get(key, [])]
    noted = [p[1] for r in reports if r.when == "call" for p in r.user_properties]
    lines = table(note for note in noted if isinstance(note, (list, tuple)))
    if lines:
        terminalreporter.section("seconds that each scheme's tests traced, lowered and compiled")
        for line in lines:
            terminalreporter.write_line(line)


def table(noted) -> list[str]:
    """Return the lines of the table, from (scheme, seconds of each stage) of every test."""
    totals: dict[str, Counter] = {}
    for name, seconds in noted:
        totals.setdefault(name, Counter()).update(seconds)
    columns = (*STAGES.values(), "programs")
    rows = [
        f"{name:18}" + "".join(f"{total[c]:10.0f}" if c == "programs" else f"{total[c]:10.1f}"
                               for c in columns)
        for name, total in sorted(totals.items(), key=lambda item: -item[1]["compile"])
        if total["programs"]
    ]  # fmt: skip
    return [f"{'scheme':18}" + "".join(f"{c:>10}" for c in columns), *rows] if rows else []
