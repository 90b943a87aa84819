"""``warifu bench screens``: how long a clerk waits for a page, beside a bare page of the same server."""

import asyncio
import http.client
import re
import statistics
import time
from typing import Final
from urllib.parse import urlencode, urlsplit

from warifu.adapters.clock import SystemClock
from warifu.demo.rehearsal import Rehearsal, rehearsal
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
        clerk = Clerk(stage)
        pages = {"home": "/", "card": f"/card/{stage.cards[0]}", "tray": "/tray", "open work": "/work"}
        return [_measure(clerk, name, path, seconds / len(pages)) for name, path in pages.items()]


def _measure(clerk: "Clerk", name: str, path: str, seconds: float) -> Result:
    """Page and bare page in turn, in so many rounds."""
    values, limits = [], []
    for _ in range(ROUNDS):
        mine: list[float] = []
        bare: list[float] = []
        until = time.perf_counter() + seconds / ROUNDS
        while time.perf_counter() < until or not mine:
            mine.append(clerk.took_ms(path))
            bare.append(clerk.took_ms(BARE))
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


class Clerk:
    """A browser of the simplest kind, signed in.

    Args:
        stage: the running stack.
    """

    def __init__(self, stage: Rehearsal) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(stage.url).netloc, timeout=30)
        self._cookies: dict[str, str] = {}
        account = stage.account()
        page = self._send("GET", "/sign-in")
        found = re.search(r'name="form_token" value="([^"]+)"', page)
        code = account.code(SystemClock().now_ms())
        fields = {"login": account.login, "password": account.password, "code": code}
        self._send("POST", "/sign-in", urlencode(fields | {"form_token": found[1] if found else ""}))

    def took_ms(self, path: str) -> float:
        """How long a page takes, from the request to its last byte."""
        began = time.perf_counter()
        self._send("GET", path)
        return (time.perf_counter() - began) * 1000

    def _send(self, method: str, path: str, body: str = "") -> str:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request(method, path, body or None, headers)
        response = self._connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        for line in response.headers.get_all("set-cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name] = value
        return text
