"""``lab prove apdu-fuzz``: no sequence of commands makes the chip break a promise.

The sequences are ``scenarios.chip_sequences``. A PIN of four digits turns up in random bytes now and then: a sequence
that shows one is run again on a card with other PINs, and only when the other PIN turns up at the same place was it
given away.
"""

import math
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from warifu.lab.proofs.catalog import Part, Violation
from warifu.lab.scenarios.chip_sequences import LENGTH, play

_CHUNK: Final = 40
"""Sequences one process runs at a time."""


def run(count: int, first: int = 0) -> Iterator[Part]:
    """Prove it with ``count`` commands from seed ``first`` on, on all processors."""
    sequences = math.ceil(count / LENGTH)
    chunks = [(first + at, min(_CHUNK, sequences - at), count - at * LENGTH) for at in range(0, sequences, _CHUNK)]
    workers = min(len(chunks), os.cpu_count() or 1)
    if workers == 1:
        yield from (fuzz(*chunk) for chunk in chunks)
        return
    with ProcessPoolExecutor(workers, get_context("forkserver"), initializer=_leave_ctrl_c_to_the_parent) as pool:
        try:
            yield from pool.map(fuzz, *zip(*chunks, strict=True))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def fuzz(first: int, sequences: int, commands: int) -> Part:
    """So many sequences, of so many commands together at most."""
    done, violations, chances = 0, list[Violation](), 0
    for seed in range(first, first + sequences):
        length = min(LENGTH, commands - done)
        watched = play(seed, length)
        done += len(watched.log)
        detail = tuple(command.hex() for command in watched.log)
        violations += [Violation(seed, text, detail) for text in watched.wrong]
        if watched.leaked_pin is not None:
            if play(seed, length, variant=1).leaked_pin == watched.leaked_pin:
                violations.append(Violation(seed, "a response holds a PIN", detail))
            else:
                chances += 1
    return Part(done, tuple(violations), {"PINs seen by chance": chances})
