"""Faults that strike a counter in the middle of an operation: each small, each one that a person can live with."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Literal

from warifu.demo.clerk import Clerk, TerminalGone
from warifu.stack import status
from warifu.stack.home import Home

Fault = Literal["card pulled", "terminal killed", "centre killed", "network cut", "network frozen", "none"]
FAULTS: Final[tuple[Fault, ...]] = ("card pulled", "terminal killed", "centre killed", "network cut", "network frozen")
FROZEN_S: Final = (0.5, 3.0)
TYPICAL_S: Final = 0.4
"""How long a piece of work is taken to last before one was seen."""
WHOLE: Final = 6
"""Every so-manyeth piece is left whole: it shows how long one lasts."""


class Faults:
    """Chooses faults and lets them strike while something is done.

    Args:
        home: the running stack's.
        dice: which, and when.
        plan: which, in turn, instead of the dice's choice.
    """

    def __init__(self, home: Home, dice: random.Random, plan: Iterator[Fault] | None = None) -> None:
        self.home = home
        self.dice = dice
        self._plan = plan
        self.struck: Counter[str] = Counter()
        self.told: list[str] = []
        self._lasted: dict[str, float] = {}

    @contextmanager
    def during(self, what: str, terminal: str, clerk: Clerk) -> Iterator[None]:
        """One fault (sometimes none) at some instant of what is done here.

        Args:
            what: the operation and its phase: instants are drawn from how long such a phase lasted before.
            terminal: the one that works.
            clerk: at that terminal; takes the card off.
        """
        fault = self._next()
        after_s = self.dice.uniform(0, self._lasted.get(what, TYPICAL_S) * 1.1)
        freeze_s = self.dice.uniform(*FROZEN_S)
        if fault == "none":
            began = time.monotonic()
            yield
            self._lasted[what] = min(time.monotonic() - began, TYPICAL_S * 5)
            return
        self.struck[fault] += 1
        server = f"cs-{terminal.split('-')[1]}"
        self.told.append(f"{what}: {fault} at {terminal} after {after_s:.3f} s")
        tab = clerk.other_tab()
        strikes: dict[str, Callable[[], None]] = {
            "card pulled": lambda: _pull(tab),
            "terminal killed": lambda: self._signal(terminal, signal.SIGKILL),
            "centre killed": lambda: self._signal("center", signal.SIGKILL),
            "network cut": lambda: self._signal(server, signal.SIGKILL),
            "network frozen": lambda: self._freeze(server, freeze_s),
        }
        timer = threading.Timer(after_s, strikes[fault])
        timer.start()
        try:
            yield
        finally:
            timer.join()

    def _next(self) -> Fault:
        if self._plan is not None:
            return next(self._plan)
        return "none" if self.dice.randrange(WHOLE) == 0 else self.dice.choice(FAULTS)

    def _signal(self, name: str, number: int) -> None:
        member = status.read(self.home).find(name)
        if member is not None and member.pid:
            with suppress(ProcessLookupError):
                os.kill(member.pid, number)

    def _freeze(self, name: str, seconds: float) -> None:
        """Nothing comes through for a while, and then everything does."""
        member = status.read(self.home).find(name)
        if member is None or not member.pid:
            return
        with suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGSTOP)
            threading.Event().wait(seconds)
            os.kill(member.pid, signal.SIGCONT)


def _pull(tab: Clerk) -> None:
    with suppress(TerminalGone):
        tab.post("/reader/lift", {"back": ""})
    tab.close()
