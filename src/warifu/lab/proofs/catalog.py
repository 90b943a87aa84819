"""Long proofs by name, for ``warifu lab prove``. A new one is a line in ``PROOFS``."""

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from msgspec import Struct

from warifu.kernel.errors import NotFound

VIOLATIONS_MAX: Final = 20
"""A proof stops looking when so many were found."""

Progress = Callable[[int], None]
"""Told how many of the counted things are done."""


class Violation(Struct, frozen=True):
    """A promise that was broken. ``seed`` replays it: ``--first SEED --count 1`` (or what the proof says)."""

    seed: int
    text: str
    detail: tuple[str, ...] = ()


class Proved(Struct, frozen=True):
    """What came of a proof. ``notes``: what was seen on the way, for people."""

    name: str
    count: int
    violations: tuple[Violation, ...]
    seconds: float
    notes: dict[str, float] = {}


class Part(Struct, frozen=True):
    """What one piece of a proof did."""

    count: int
    violations: tuple[Violation, ...] = ()
    notes: dict[str, float] = {}


class Proof(NamedTuple):
    """A proof: what it shows, how much by default, and where its ``run(count, first)`` is."""

    summary: str
    default: int
    place: str


PROOFS: Final[dict[str, Proof]] = {
    "apdu-fuzz": Proof("random and mutated commands to the chip; counts commands", 100_000, "warifu.lab.proofs.chip"),
    "chain-faults": Proof("a running stack under load, struck by faults; counts them", 100, "warifu.lab.proofs.chain"),
    "pki-kills": Proof(
        "an authority killed in bulk issue, lists and refill; counts kills", 200, "warifu.lab.proofs.pki"
    ),
    "power-pull": Proof("a card's process killed at random instants; counts kills", 200, "warifu.lab.proofs.power"),
    "screens": Proof(
        "the counter's screens in a browser, a picture of each; counts languages", 2, "warifu.demo.prove_screens"
    ),
    "screens-breaks": Proof(
        "every operation at the screens, broken on purpose; counts cards", 10, "warifu.demo.prove_breaks"
    ),
}


class UnknownProof(NotFound):
    """No proof of this name."""

    code = "lab.unknown_proof"


def prove(name: str, count: int | None, *, first: int = 0, progress: Progress = lambda _: None) -> Proved:
    """Run a proof.

    Args:
        name: one of ``PROOFS``.
        count: how much; the proof's own default when None.
        first: the first seed.
        progress: told how far it is.

    Raises:
        UnknownProof: there is none of this name.
    """
    if name not in PROOFS:
        raise UnknownProof(f"no proof {name[:40]!r}; there are: {', '.join(PROOFS)}")
    run: Callable[[int, int], Iterator[Part]] = importlib.import_module(PROOFS[name].place).run
    begun = time.perf_counter()
    done, violations, notes = 0, list[Violation](), dict[str, float]()
    for part in run(count or PROOFS[name].default, first):
        done += part.count
        violations += part.violations
        for key, value in part.notes.items():
            notes[key] = notes.get(key, 0) + value
        progress(done)
        if len(violations) >= VIOLATIONS_MAX:
            break
    return Proved(name, done, tuple(violations[:VIOLATIONS_MAX]), time.perf_counter() - begun, notes)
