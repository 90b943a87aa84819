"""Millions of rows of the register of certificates, by COPY: narrow ones (no certificate in them), for searches.

Synthetic, the same for the same numbers. One municipality is as large as the country's largest would be in a register
ten times this size; the most frequent name has some thousands of holders, as the most frequent whole names do.
"""

import datetime
import hashlib
import random
from collections.abc import Iterator
from typing import Any, Final

import asyncpg
from msgspec import Struct

from warifu.adapters.store.ddl import create_statements
from warifu.adapters.store.shape import table_of
from warifu.domain.certificates.records import Certificate

LARGEST: Final = "141003"
LARGEST_SHARE: Final = 0.3
"""Yokohama holds 3 % of the country; of a tenth of the country's rows it is 30 % when it stays as large."""
PLACES: Final = 1_741
CHUNK: Final = 50_000
_FIRST_SERIAL: Final = 0x01000001
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_STATES: Final = ("valid",) * 8 + ("issued", "revoked")
_TIMEOUT_S: Final = 3_600


class Population(Struct, frozen=True):
    """What a register of so many rows holds, reckoned from the row's number alone."""

    rows: int

    @property
    def names(self) -> int:
        """Different names: the most frequent one has about rows / sqrt(names) holders."""
        return max(100, self.rows // 5)

    def place(self, number: int) -> str:
        """The municipality of a row."""
        draw = _draw(number, 1)
        if draw < LARGEST_SHARE:
            return LARGEST
        return f"{int((draw - LARGEST_SHARE) / (1 - LARGEST_SHARE) * (PLACES - 1)):06}"

    def name(self, number: int) -> bytes:
        """The name digest of a row: squares make some names frequent and most rare."""
        return digest(int(_draw(number, 2) ** 2 * self.names))

    def row(self, number: int) -> tuple[Any, ...]:
        """In the order of ``Certificate``'s fields."""
        holder = number // 2
        state = _STATES[holder % len(_STATES)]
        return (
            1,
            "signature" if number % 2 else "authentication",
            _FIRST_SERIAL + holder,
            1,
            card(holder),
            resident(holder),
            self.place(holder),
            f"{number:026}",
            state,
            "",
            1,
            0,
            datetime.date(2035, 1, 1),
            b"",
            b"",
            "superseded" if state == "revoked" else "",
            1_761_530_400_000 if state == "revoked" else None,
            self.name(holder),
            1_761_530_400_000,
        )


def serial(holder: int) -> int:
    """The serial number of both of a holder's certificates."""
    return _FIRST_SERIAL + holder


def card(holder: int) -> str:
    """A card's number."""
    return f"WRF{holder:012}"


def resident(holder: int) -> str:
    """A resident's id: like a ULID."""
    text = ""
    for _ in range(26):
        text = _CROCKFORD[holder % 32] + text
        holder //= 32
    return text


def digest(name: int) -> bytes:
    """What stands for the name of this rank."""
    return hashlib.md5(name.to_bytes(8, "big"), usedforsecurity=False).digest()


def _draw(number: int, salt: int) -> float:
    """Between 0 and 1; the same for the same numbers, without order."""
    return random.Random(number * 31 + salt).random()  # noqa: S311 - synthetic


async def fill(url: str, population: Population) -> None:
    """Fill ``authority.certificate``, which is empty; its indexes come after that, as in a restored one."""
    table = table_of(Certificate)
    connection = await asyncpg.connect(url, timeout=60, command_timeout=_TIMEOUT_S)
    try:
        await connection.execute("SET search_path TO authority")
        await connection.execute("SET maintenance_work_mem TO '512MB'")
        rest = await _bare(connection)
        for chunk in _chunks(population):
            await connection.copy_records_to_table(table.name, records=chunk, columns=list(table.names))
        for statement in rest:
            await connection.execute(statement)
        await connection.execute(f"VACUUM ANALYZE {table.name}")
    finally:
        await connection.close()


async def _bare(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """Take the indexes and constraints beside the primary key away; returns what gives them back."""
    rest = create_statements(Certificate)[1:]
    for statement in rest:
        name = statement.split('"')[3] if statement.startswith("ALTER") else statement.split('"')[1]
        what = (
            f'ALTER TABLE certificate DROP CONSTRAINT "{name}"' if "CONSTRAINT" in statement else f'DROP INDEX "{name}"'
        )
        await connection.execute(what)
    return rest


def _chunks(population: Population) -> Iterator[list[tuple[Any, ...]]]:
    for start in range(0, population.rows, CHUNK):
        yield [population.row(number) for number in range(start, min(start + CHUNK, population.rows))]
