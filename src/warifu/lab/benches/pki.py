"""``warifu bench pki``: what JPKI does, each part beside its raw limit. A new part is a line in ``PARTS``.

A part is ``async (seconds) -> list of results``; it interleaves slices of our figure and of the limit
(``interleaved``), so that both meet the same weather. ``--seconds`` is for each part: 36 gives slices of two seconds.
"""

import importlib
import statistics
from collections.abc import Awaitable, Callable
from typing import Any, Final

from warifu.kernel.errors import TryAgain

RATIOS: Final = 9
SHORTEST_S: Final = 0.05

Rate = Callable[[float], Awaitable[float]]
"""Works for about so many seconds; how many a second it did."""
PARTS: Final[tuple[tuple[str, str], ...]] = (
    ("warifu.lab.benches.pki_keys", "bench_key_pairs"),
    ("warifu.lab.benches.pki_status", "bench_lists"),
    ("warifu.lab.benches.pki_status", "bench_ocsp"),
    ("warifu.lab.benches.pki_issue", "bench_issue"),
)
"""Module and function."""


async def bench_pki(seconds: float) -> list[dict[str, Any]]:
    """Every part in turn; one that lacks a program is left out and says so."""
    results: list[dict[str, Any]] = []
    for place, function in PARTS:
        part: Callable[[float], Awaitable[list[dict[str, Any]]]] = getattr(importlib.import_module(place), function)
        try:
            results += await part(seconds)
        except TryAgain as error:
            results.append({"name": f"pki.{function.removeprefix('bench_')}", "skipped": str(error)})
    return results


def slice_of(seconds: float) -> float:
    """How long one slice is, when all take so many seconds together."""
    return max(seconds / (2 * RATIOS), SHORTEST_S)


async def interleaved(name: str, unit: str, limit: str, *, ours: Rate, raw: Rate, seconds: float) -> dict[str, Any]:
    """One row: medians of both figures and of their ratios, nine pairs of slices in turn.

    Args:
        name: of the row.
        unit: what is counted, a second.
        limit: what ``raw`` does, in words.
        ours: our work.
        raw: the limit's.
        seconds: for all slices together.
    """
    slice_s = slice_of(seconds)
    pairs: list[tuple[float, float]] = []
    for turn in range(RATIOS):
        if turn % 2:
            second = await raw(slice_s)
            pairs.append((await ours(slice_s), second))
        else:
            first = await ours(slice_s)
            pairs.append((first, await raw(slice_s)))
    runs = [ours_rate / raw_rate for ours_rate, raw_rate in pairs]
    return {
        "name": name,
        "value": statistics.median(rate for rate, _ in pairs),
        "unit": unit,
        "limit": limit,
        "limit_value": statistics.median(rate for _, rate in pairs),
        "ratio": statistics.median(runs),
        "runs": runs,
    }
