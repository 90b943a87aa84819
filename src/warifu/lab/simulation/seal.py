"""Keeps the outside out while a simulation runs: real time, real randomness, threads, sockets, subprocesses.

Node code reaches the world through ports; what goes around them would make a seed mean something else each time. The
loop refuses its own doors (``loop.OUTSIDE``); here the others are shut: functions of ``time``, ``random``,
``os`` and ``uuid`` and the start of threads by replacing them; sockets, subprocesses and (from Python 3.12 on) threads
once more by an audit hook (PEP 578), which sees them however they were imported. A function that node code imported by
its own name before is not seen here; ``tests/lab/simulation/test_lab_purity.py`` reads the sources for that.
"""

import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from warifu.lab.simulation.loop import NotSimulated

SHUT: tuple[tuple[ModuleType | type, tuple[str, ...]], ...] = (
    (time, ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep")),
    (random, ("random", "randrange", "randint", "choice", "choices", "sample", "shuffle", "uniform", "getrandbits")),
    (os, ("urandom", "getrandom")),
    (uuid, ("uuid1", "uuid4")),
    (threading.Thread, ("start",)),
)
AUDITED = frozenset(
    {
        *("socket.__new__", "subprocess.Popen", "os.fork", "os.posix_spawn", "os.system"),
        *("_thread.start_new_thread", "_thread.start_joinable_thread"),
    }
)
HARMLESS_CALLERS = frozenset({"logging"})
"""Modules that stamp the time on what no rule ever reads."""


class _Seal:
    """Which thread is sealed now; the audit hook, once added, stays for the life of the process."""

    thread: int | None = None
    hooked = False


@contextmanager
def sealed() -> Iterator[None]:
    """Shut this thread in; ``NotSimulated`` for whoever in it reaches out."""
    if _Seal.thread is not None:
        raise NotSimulated("a simulation inside a simulation")
    _hook()
    originals = [(owner, name, getattr(owner, name)) for owner, names in SHUT for name in names]
    _Seal.thread = threading.get_ident()
    try:
        for owner, name, original in originals:
            setattr(owner, name, _shut(f"{owner.__name__}.{name}", original))
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
        _Seal.thread = None


def _shut(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def shut(*args: object, **kwargs: object) -> object:
        caller = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001 - the documented way to ask
        if threading.get_ident() == _Seal.thread and caller not in HARMLESS_CALLERS:
            raise NotSimulated(f"{name} called by {caller}: node code reaches the world through its ports")
        return original(*args, **kwargs)

    return shut


def _hook() -> None:
    if not _Seal.hooked:
        _Seal.hooked = True
        sys.addaudithook(_audit)


def _audit(event: str, _args: tuple[object, ...]) -> None:
    if _Seal.thread is None or threading.get_ident() != _Seal.thread:
        return
    if event in AUDITED:
        raise NotSimulated(f"{event}: there are no threads, sockets or subprocesses in the simulation")
