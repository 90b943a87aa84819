"""``warifu bench screens``: how long a clerk waits for a page, beside a bare page of the same server."""

import asyncio
import statistics
import time
from contextlib import closing
from typing import Final

from warifu.demo.clerk import Clerk
from warifu.demo.rehearsal import rehearsal
from warifu.lab.benches.catalog import Result

RESIDENTS: Final = 6
ROUNDS: Final = 5
BARE: Final = "/static/tally.svg"
P95: Final = 0.95


async def bench_screens(seconds: float) -> list[Result]:
    """Home, a card's page with its audited looks, and the tray: p95 in milliseconds, each beside the bare page."""
    return await asyncio.to_thread(_bench, seconds)


def _bench(seconds: float) -> list[Result]:
    with rehearsal(RESIDENTS) as stage:
        clerk = Clerk(stage.url)
        clerk.sign_in(stage.account())
        pages = {"home": "/", "card": f"/card/{stage.cards[0]}", "tray": "/tray", "open work": "/work"}
        with closing(clerk):
            return [_measure(clerk, name, path, seconds / len(pages)) for name, path in pages.items()]


def _measure(clerk: Clerk, name: str, path: str, seconds: float) -> Result:
    """Page and bare page in turn, in so many rounds."""
    values, limits = [], []
    for _ in range(ROUNDS):
        mine: list[float] = []
        bare: list[float] = []
        until = time.perf_counter() + seconds / ROUNDS
        while time.perf_counter() < until or not mine:
            mine.append(_took_ms(clerk, path))
            bare.append(_took_ms(clerk, BARE))
        values.append(_p95(mine))
        limits.append(_p95(bare))
    ratios = [value / limit for value, limit in zip(values, limits, strict=True)]
    return {
        "name": f"screens: {name}, p95",
        "value": statistics.median(values),
        "unit": "ms",
        "limit": "bare page of the same server",
        "limit_value": statistics.median(limits),
        "ratio": statistics.median(ratios),
        "runs": ratios,
    }


def _p95(values: list[float]) -> float:
    return sorted(values)[min(int(len(values) * P95), len(values) - 1)]


def _took_ms(clerk: Clerk, path: str) -> float:
    """How long a page takes, from the request to its last byte."""
    began = time.perf_counter()
    clerk.get(path)
    return (time.perf_counter() - began) * 1000
