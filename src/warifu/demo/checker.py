"""The checker: reads database, chips, lists and OCSP answers by itself, and says precisely what does not fit."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from warifu.demo.facts import Chip, Database, Facts, gather, read_chip
from warifu.demo.judging import Expected, judge, judge_numbers
from warifu.demo.patience import Patience
from warifu.demo.people import Pins
from warifu.demo.pki_facts import PkiReader
from warifu.demo.web import Web
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import WarifuError
from warifu.ports.clock import Clock
from warifu.ports.entropy import Entropy
from warifu.ports.reader import Reader

DRAIN_S: Final = 60.0
"""How long messages between nodes may still be under way."""


class Subject(Struct, frozen=True):
    """A resident to be checked."""

    expected: Expected
    pins: Pins


class Sources(Struct, frozen=True):
    """Where the checker reads."""

    database_urls: dict[str, str]
    """By schema; secret."""
    reader: Reader
    web: Web
    clock: Clock
    entropy: Entropy

    def __repr__(self) -> str:
        """Without passwords."""
        return "Sources(<hidden>)"


async def check(subjects: Sequence[Subject], sources: Sources, progress: Callable[[int], None]) -> list[str]:
    """Every inconsistency, each in a line; an empty list: all is as it should be.

    Args:
        subjects: the residents of the run.
        sources: where to read.
        progress: told how many residents have been checked.

    Raises:
        WarifuError: database or responder stay away.
    """
    patience = Patience()
    database = Database(sources.database_urls, patience)
    try:
        problems = await _drained(database)
        facts: list[Facts] = []
        for count, subject in enumerate(subjects, 1):
            facts.append(await _facts(database, patience, sources, subject))
            problems += judge(subject.expected, facts[-1])
            progress(count)
        expected = [subject.expected for subject in subjects]
        problems += judge_numbers(expected, facts)
        clear = await database.columns_with([one.individual_number for one in expected if one.individual_number])
        problems += [f"individual numbers stand in the clear in {column}" for column in clear]
        pki = PkiReader(database, sources.web, patience, sources.entropy)
        certificates = [certificate for one in facts for certificate in one.certificates]
        problems += await pki.check(certificates, jst_date(sources.clock.now_ms()))
    finally:
        await database.close()
    return problems


async def _drained(database: Database) -> list[str]:
    """Wait for the outboxes to be empty."""

    async def look() -> bool | None:
        return None if await database.waiting_messages() else True

    try:
        await Patience(DRAIN_S).until("outboxes empty", look)
    except WarifuError:
        waiting = await database.waiting_messages()
        return [f"{count} messages wait in the outbox of {schema}" for schema, count in waiting.items()]
    return []


async def _facts(database: Database, patience: Patience, sources: Sources, subject: Subject) -> Facts:
    facts = await gather(database, subject.expected.resident_id)
    expected = subject.expected
    pins = None if expected.abolished else subject.pins
    chip = await patience.persist(lambda: read_chip(sources.reader, expected.card_id, pins, may_sign=expected.may_sign))
    if isinstance(chip, Chip):
        return msgspec.structs.replace(facts, chip=chip)
    return msgspec.structs.replace(facts, chip_error=chip)
