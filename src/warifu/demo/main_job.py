"""One run of the main job against a running stack: driver first, then the checker, then what both say."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.reader.files import FileReader
from warifu.demo import web
from warifu.demo.checker import Sources, Subject, check
from warifu.demo.connection import any_config, connected, database_urls
from warifu.demo.driver import Driver
from warifu.demo.errors import WrongStack
from warifu.demo.judging import Expected
from warifu.demo.people import PLACES, Holder, choose
from warifu.demo.tally import STEPS, Screen, StepTally, Tally
from warifu.kernel.calendar import jst_date
from warifu.stack.config import NodeConfig
from warifu.stack.home import Home
from warifu.stack.status import StackStatus
from warifu.stack.topology import LOCAL_KINDS


class CheckScreen(Screen, Protocol):
    """Who is told of progress, the checker's included."""

    def checked(self, count: int, total: int) -> None:
        """So many residents have been checked."""


class Report(Struct, frozen=True, kw_only=True):
    """What a run says of itself, as in ``--json``."""

    residents: int
    consistent: bool
    """The checker saw every resident to the end and found nothing."""
    steps: dict[str, StepTally]
    cards: tuple[str, ...]
    problems: tuple[str, ...] = ()
    """Failed steps and inconsistencies."""
    seconds: float = 0.0
    retries: int = 0
    """How often a request was sent again."""

    @property
    def ok(self) -> bool:
        """Every step of every resident ended as it should, and nothing is inconsistent."""
        return self.consistent and not self.problems


async def run_main_job(home: Home, status: StackStatus, residents: int, screen: CheckScreen) -> Report:
    """Take new residents through the whole chain and check what is left behind.

    Args:
        home: the stack's.
        status: of the running stack.
        residents: how many.
        screen: told of progress.

    Raises:
        WrongStack, NoResponder: the stack cannot do it.
    """
    began = time.monotonic()
    own = any_config(home, status)
    _require_places(own)
    clock, entropy = SystemClock(), SystemEntropy()
    today = jst_date(clock.now_ms())
    seed = int.from_bytes(entropy.random_bytes(6), "big")
    holders = choose(residents, seed, today, clock, entropy)
    for name, count in expected_counts(holders, lambda holder: holder.may_sign(today)).items():
        screen.expect(name, count)
    face = web.Web(web.base_url(status))
    async with connected(home, own) as asker:
        tally = Tally(screen)
        await Driver(asker, FileReader(home.cards), face, tally, today).run(holders)
    subjects = [_subject(holder, may_sign=holder.may_sign(today)) for holder in holders if not holder.failed]
    sources = Sources(database_urls(home, own), FileReader(home.cards), face, clock, entropy)
    found = await check(subjects, sources, lambda count: screen.checked(count, len(subjects)))
    return Report(
        residents=len(holders),
        consistent=not found and len(subjects) == len(holders),
        steps=tally.steps(),
        cards=tuple(holder.card_id for holder in holders if holder.card_id),
        problems=(*tally.problems, *found),
        seconds=round(time.monotonic() - began, 2),
        retries=asker.patience.retries,
    )


def expected_counts(holders: Sequence[Holder], may_sign: Callable[[Holder], bool]) -> dict[str, int]:
    """How many of each step there will be."""
    events = {"move": "move", "continuation": "move", "suspend": "suspend", "resume": "suspend"}
    events |= {"lock": "lock", "pin_reset": "lock", "abolish": "abolish"}
    counts: dict[str, int] = {}
    for name in STEPS:
        if name in events:
            counts[name] = sum(events[name] in holder.events for holder in holders)
        elif name == "sign":
            counts[name] = sum(may_sign(holder) for holder in holders)
        else:
            counts[name] = len(holders)
    return counts


def _subject(holder: Holder, *, may_sign: bool) -> Subject:
    expected = Expected(
        resident_id=holder.resident_id,
        card_id=holder.card_id,
        application_id=holder.application_id,
        person=holder.person,
        individual_number=holder.number,
        operations=tuple(holder.operations),
        suspensions=int("suspend" in holder.events),
        moves=int("move" in holder.events),
        abolished=holder.abolished,
        may_sign=may_sign,
    )
    return Subject(expected, holder.pins)


def _require_places(own: NodeConfig) -> None:
    for place in PLACES:
        here = {node.kind for node in own.topology.node if node.municipality == place}
        if here < LOCAL_KINDS or own.topology.find(f"terminal-{place}") is None:
            raise WrongStack(f"the running stack has no cs and terminal-{place} of municipality {place}")
