"""What the records and chips of a real stack hold in the end, as a history for ``warifu.lab.checking``."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import asyncpg

from warifu.adapters.reader.memory import CardBox
from warifu.adapters.store.postgres import failure_of
from warifu.chip.image import decode
from warifu.kernel.ids import ulid_text
from warifu.lab.history import DIGEST_SHOWN, Event

TIMEOUT_S: Final = 60.0
DRAIN_S: Final = 60.0
_LOOK_S: Final = 0.1

_EFFECTS: Final = """
SELECT node, operation_id, step, at_ms FROM "center".requests WHERE operation_id = ANY($1::text[])
ORDER BY age(xmin) DESC, at_ms
"""
_CARDS: Final = 'SELECT card_id, write_id, state FROM "center".card WHERE card_id = ANY($1::text[])'
_OPERATIONS: Final = 'SELECT operation_id, card_id, state, kind FROM "center".operation WHERE card_id = ANY($1::text[])'
_WRITES: Final = """
SELECT operation_id, write_id, card_id, state, digest, step_name FROM "center".card_write
WHERE card_id = ANY($1::text[])
"""
_APPLETS: Final = (
    'SELECT write_id, card_id, state, purpose FROM "authority".applet_write WHERE card_id = ANY($1::text[])'
)
_WAITING: Final = 'SELECT (SELECT count(*) FROM "center".outbox) + (SELECT count(*) FROM "authority".outbox)'


async def outboxes_empty(url: str, within_s: float = DRAIN_S) -> int:
    """Wait until nothing waits in the outboxes of centre and JPKI; how many messages do in the end.

    Raises:
        WarifuError: the database does not answer.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        ((waiting,),) = await _fetch(url, [(_WAITING, ())])
        count = int(waiting[0])
        if count == 0 or loop.time() > deadline:
            return count
        await asyncio.sleep(_LOOK_S)


async def records(url: str, cards: Sequence[str], operations: Sequence[str]) -> list[Event]:
    """The rows of these cards and the answers of these operations, in the order of their transactions.

    Raises:
        WarifuError: the database does not answer.
    """
    by_card = (list(cards),)
    asked = [(_EFFECTS, (list(operations),)), *((text, by_card) for text in (_CARDS, _OPERATIONS, _WRITES, _APPLETS))]
    effects, found, opened, writes, applets = await _fetch(url, asked)
    return [
        *map(_effect, effects),
        *map(_card, found),
        *map(_operation, opened),
        *map(_write, writes),
        *map(_applet, applets),
    ]


def chips(box: CardBox, cards: Iterable[str]) -> Iterator[Event]:
    """What the chips hold."""
    for card in cards:
        image = decode(box.images[card])
        last = image.last_write
        committed = last is not None and last.committed
        yield Event(
            at_ms=0,
            kind="chip",
            node=card,
            step=ulid_text(last.write_id) if last is not None and committed else "",
            digest=last.digest.hex()[:DIGEST_SHOWN] if last is not None and committed and any(last.digest) else "",
            outcome="holds",
            detail=image.life,
        )


def _effect(row: Any) -> Event:  # noqa: ANN401 - a row of the driver's
    return Event(
        at_ms=row["at_ms"], kind="effect", node=row["node"], operation_id=row["operation_id"], step=row["step"]
    )


def _card(row: Any) -> Event:  # noqa: ANN401
    return Event(
        at_ms=0,
        kind="record",
        node="center",
        name="card",
        peer=row["card_id"],
        step=row["write_id"],
        outcome=row["state"],
    )


def _operation(row: Any) -> Event:  # noqa: ANN401
    return Event(
        at_ms=0, kind="record", node="center", name="operation", operation_id=row["operation_id"], peer=row["card_id"],
        outcome=row["state"], detail=row["kind"],
    )  # fmt: skip


def _write(row: Any) -> Event:  # noqa: ANN401
    return Event(
        at_ms=0, kind="record", node="center", name="card_write",
        operation_id=row["operation_id"], step=row["write_id"], peer=row["card_id"],
        outcome=row["state"], digest=row["digest"].hex()[:DIGEST_SHOWN], detail=row["step_name"],
    )  # fmt: skip


def _applet(row: Any) -> Event:  # noqa: ANN401
    return Event(
        at_ms=0, kind="record", node="authority", name="applet_write", step=row["write_id"], peer=row["card_id"],
        outcome=row["state"], detail=row["purpose"],
    )  # fmt: skip


async def _fetch(url: str, asked: Sequence[tuple[str, tuple[object, ...]]]) -> list[list[Any]]:
    try:
        connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
        try:
            return [list(await connection.fetch(text, *values)) for text, values in asked]
        finally:
            connection.terminate()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        failure = failure_of(error)
    raise failure  # outside of the handler: PostgreSQL's texts quote values
