"""Everything a run depends on, in one value: scenario, seed, size, which faults there are, what was removed.

A plan's text (``tally:1234``, ``tally:1234/size=3/faults=crash+stale/quiet=0+2``) is what a failure prints and what
``--replay`` takes.
"""

from random import Random

import msgspec
from msgspec import Struct

from warifu.kernel.errors import Malformed

FAULTS: dict[str, str] = {
    "unreachable": "no connection: the request was never sent",
    "cut_before": "the connection breaks before the request arrives",
    "cut_after": "the connection breaks after the request was handled: the reply is lost",
    "cut_early": "the connection breaks while the request is still being handled",
    "lose_request": "half-open: the request is lost and nobody says so",
    "lose_reply": "half-open: the reply is lost and nobody says so",
    "duplicate": "a request arrives twice, possibly at another instance",
    "slow": "a message takes up to five seconds, overtaken by later ones",
    "partition": "two nodes cannot reach each other for a while",
    "crash": "a node is killed, memory lost, store kept, and started again",
    "skew": "a node's wall clock jumps",
    "store_slow": "the store answers late",
    "store_down": "the store does not answer; nothing was done",
    "stale": "serialization failure: nothing was done",
    "lost_commit": "the store's connection breaks after the commit stands",
    "crash_before_commit": "the node dies as its commit reaches the store, which does not do it",
    "crash_after_commit": "the node dies as its commit stands, before it learns of it",
    "hsm_stall": "an HSM worker takes a command and never answers again",
    "hsm_late": "an HSM worker answers after the command's deadline",
    "hsm_slow": "an HSM worker answers slowly from now on",
    "hsm_wrong": "an HSM worker gives an answer of another form",
    "hsm_die": "an HSM worker dies over a command",
    "hsm_spawn": "a new HSM worker does not come up",
    "half_sick": "a relay's HSM device, or its path to the centre, is gone while its port still answers",
    "pull": "the card is pulled: before a command, after it, or as the chip saves",
    "chip_error": "the chip answers a command of a script with an error, and does not do it",
    "overload": "a burst of set-ups comes at once",
    "hsm_rekey": "a device has another key of the same name from now on",
    "stop": "a node is told to end, ends in order, and is started again",
    "reader_hang": "a card reader's driver does not come back",
    "echo": "an answered request comes once more, seconds later, when others have followed it",
    "first": "the connection breaks at the first message of its name: before it arrives, or after it was handled",
}
"""Kinds of faults: what the world does."""

ACTIVE_SHARE = 0.25
"""A kind of fault is active in this share of the runs, and then often: that finds more than a little of everything."""
OFTEN = (0.03, 0.1, 0.3)
RARELY = {
    "crash_before_commit": 0.2,
    "crash_after_commit": 0.2,
    "pull": 0.6,
    "reader_hang": 0.1,
    "chip_error": 1.0,
    "echo": 3.0,
    "first": 10.0,
}
"""Faults that end more than one message, or that have many occasions, come less often: else no step would ever end;
what does no harm comes often."""

ONCE = frozenset({"first"})
"""Strike once for each name at most, however many messages there are: not to be softened. What is sent once in a run is
lost as often as what is sent a hundred times."""
HARMLESS = frozenset({"echo"})
"""Keep nothing from converging, so they strike after the storm too."""


class Plan(Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        size: how many requests; 0 lets the scenario choose.
        faults: which kinds may be active at all; None for all. The seed still decides which of them are.
        quiet: numbers of single faults (counted as they strike) that shall not strike.
        tight: everything takes as little time as it can, so that all that can meet at one instant does.
        without: safeguards removed, by name.
        order: first in, first out but for these decisions (number, position taken); None: an order by the seed.
    """

    scenario: str
    seed: int
    size: int = 0
    faults: tuple[str, ...] | None = None
    quiet: tuple[int, ...] = ()
    tight: bool = False
    without: tuple[str, ...] = ()
    order: tuple[tuple[int, int], ...] | None = None

    def text(self) -> str:
        """Short form, without what was removed (that is said apart)."""
        parts = [f"{self.scenario}:{self.seed}"]
        parts += [f"size={self.size}"] if self.size else []
        parts += [f"faults={'+'.join(self.faults)}"] if self.faults is not None else []
        parts += [f"quiet={'+'.join(map(str, self.quiet))}"] if self.quiet else []
        parts += ["tight=1"] if self.tight else []
        if self.order is not None:
            parts.append("order=" + "+".join(f"{decision}.{taken}" for decision, taken in self.order))
        return "/".join(parts)


def parse_plan(text: str, *, default_scenario: str = "", without: tuple[str, ...] = ()) -> Plan:
    """The plan of a text; a bare number is a seed of ``default_scenario``.

    Raises:
        Malformed: not a plan.
    """
    head, *parts = text.split("/")
    scenario, _, seed = head.rpartition(":")
    plan = Plan(scenario=scenario or default_scenario, seed=_number(seed), without=without)
    for part in parts:
        plan = _with(plan, part)
    return plan


def _with(plan: Plan, part: str) -> Plan:
    field, _, value = part.partition("=")
    pieces = tuple(piece for piece in value.split("+") if piece)
    match field:
        case "size":
            return msgspec.structs.replace(plan, size=_number(value))
        case "faults" if set(pieces) <= set(FAULTS):
            return msgspec.structs.replace(plan, faults=pieces)
        case "quiet":
            return msgspec.structs.replace(plan, quiet=tuple(map(_number, pieces)))
        case "order":
            return msgspec.structs.replace(plan, order=tuple(map(_decision, pieces)))
        case "tight":
            return msgspec.structs.replace(plan, tight=bool(_number(value)))
    raise Malformed(f"not part of a plan: {part[:60]}")


def _decision(text: str) -> tuple[int, int]:
    decision, _, taken = text.partition(".")
    return _number(decision), _number(taken)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise Malformed(f"not a number: {text[:60]}")
    return int(text)


class Dice:
    """The faults of a run. Each kind has a random source of its own: removing one kind does not move the others."""

    def __init__(self, plan: Plan) -> None:
        swarm = Random(f"{plan.seed}/swarm")  # noqa: S311 - repeatable on purpose
        drawn = {kind: _chance(swarm, kind) for kind in FAULTS}
        allowed = FAULTS if plan.faults is None else plan.faults
        self.chances = {kind: chance for kind, chance in drawn.items() if chance and kind in allowed}
        self._draws = {kind: Random(f"{plan.seed}/fault/{kind}").random for kind in self.chances}  # noqa: S311
        self._quiet = frozenset(plan.quiet)
        self._struck = 0
        self.calm = False
        """True from the healing phase on: nothing strikes any more."""

    @property
    def struck(self) -> int:
        """How many faults struck or were kept quiet."""
        return self._struck

    def soften(self, factor: float, but: frozenset[str]) -> None:
        """Make every fault but these come less often."""
        softened = {kind: chance if kind in but | ONCE else chance * factor for kind, chance in self.chances.items()}
        self.chances = softened

    def strikes(self, kind: str) -> bool:
        """Whether this fault happens here and now."""
        chance = self.chances.get(kind)
        if chance is None or (self.calm and kind not in HARMLESS) or self._draws[kind]() >= chance:
            return False
        self._struck += 1
        return self._struck - 1 not in self._quiet


def _chance(swarm: Random, kind: str) -> float:
    active, often = swarm.random() < ACTIVE_SHARE, swarm.choice(OFTEN)
    return often * RARELY.get(kind, 1.0) if active else 0.0
