"""Benches by name, for ``warifu bench``. A new one is a line in ``BENCHES``.

A bench is ``async (seconds) -> list of results``. A result says what was measured beside what raw limit, interleaved in
the same run: name, value, unit, limit, limit_value, ratio (a median), runs (the ratios). A part that cannot be measured
here is ``{"name", "skipped": why}``. ``notes`` (lines of text) stand below the table: what a figure is made of.
"""

import importlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from warifu.kernel.errors import NotFound

Result = dict[str, Any]


class Bench(NamedTuple):
    """A bench: what it measures, and where its function is."""

    summary: str
    place: str
    function: str
    seconds: float = 20.0
    """How long by default, about."""


BENCHES: Final[dict[str, Bench]] = {
    "chain": Bench(
        "the whole chain on topology quarter beside bare hops", "warifu.lab.benches.chain", "bench_chain", 100
    ),
    "chip": Bench(
        "the chip's commands and signatures, in memory and over vpcd", "warifu.lab.benches.chip", "bench_chip"
    ),
    "pki": Bench("key pairs, certificates, lists and answers of JPKI", "warifu.lab.benches.pki", "bench_pki", 36),
    "search": Bench(
        "search of JPKI's register beside a look by primary key (WARIFU_BENCH_ROWS, 1,000,000 by default)",
        "warifu.lab.benches.search",
        "bench_search",
    ),
    "net": Bench("frames between nodes, through one hop and three", "warifu.lab.benches.net", "bench_net"),
    "screens": Bench("a clerk's pages beside a bare page", "warifu.demo.bench_screens", "bench_screens"),
}


class UnknownBench(NotFound):
    """No bench of this name."""

    code = "bench.unknown"


def check_name(name: str) -> None:
    """``UnknownBench`` if there is none of this name."""
    if name not in BENCHES:
        raise UnknownBench(f"no bench {name[:40]!r}; there are: {', '.join(BENCHES)}")


async def measure(name: str, seconds: float) -> list[Result]:
    """Run one bench for about so many seconds. ``UnknownBench`` if there is none of this name."""
    check_name(name)
    bench = BENCHES[name]
    function: Callable[[float], Awaitable[list[Result]]] = getattr(importlib.import_module(bench.place), bench.function)
    return await function(seconds)
