"""Is the authority's register sound? Asked of the database itself, past the node: serials, key pairs, records.

Every question is one statement that lists what breaks a promise; a sound register answers with nothing.
"""

import asyncpg
import msgspec
from msgspec import Struct

from warifu.domain.pki.profile import FIRST_SERIAL
from warifu.kernel.errors import Unavailable

_SHOWN = 5


class Finding(Struct, frozen=True):
    """A promise that the register breaks: which, how often, and some of the rows (identifiers only)."""

    promise: str
    count: int
    examples: tuple[str, ...]


class Examined(Struct, frozen=True):
    """What was looked at, and what was found."""

    certificates: int
    key_pairs: int
    uses: int
    findings: tuple[Finding, ...]


# ruff: noqa: S608 - the only thing written into SQL is a number of our own
_QUESTIONS: dict[str, str] = {
    "no serial number twice": (
        "SELECT ca || ' ' || serial FROM authority.certificate GROUP BY ca, serial HAVING count(*) > 1"
    ),
    "no serial number that was not given out": (
        "SELECT c.ca || ' ' || c.serial FROM authority.certificate AS c "
        "LEFT JOIN authority.sequences AS s ON s.name = 'serial:' || c.ca "
        f"WHERE c.serial < {FIRST_SERIAL} OR s.name IS NULL OR c.serial >= {FIRST_SERIAL} - 1 + s.next_number"
    ),
    "no key pair for two certificates": (
        "SELECT key_pair_id FROM authority.certificate GROUP BY key_pair_id HAVING count(*) > 1"
    ),
    "no public key in two key pairs": (
        "SELECT min(key_pair_id) FROM authority.key_pair GROUP BY sha256(public_key) HAVING count(*) > 1"
    ),
    "every certificate's key pair is in the consumption log, for this certificate": (
        "SELECT c.ca || ' ' || c.serial FROM authority.certificate AS c "
        "LEFT JOIN authority.key_use AS u ON u.key_pair_id = c.key_pair_id "
        "WHERE u.ca IS DISTINCT FROM c.ca OR u.serial IS DISTINCT FROM c.serial"
    ),
    "every use has its certificate": (
        "SELECT u.key_pair_id FROM authority.key_use AS u "
        "LEFT JOIN authority.certificate AS c ON c.key_pair_id = u.key_pair_id WHERE c.key_pair_id IS NULL"
    ),
    "no used key pair is free": (
        "SELECT k.key_pair_id FROM authority.key_pair AS k JOIN authority.key_use AS u USING (key_pair_id) "
        "WHERE k.state = 'free'"
    ),
    "a destroyed key pair has no private key": (
        "SELECT key_pair_id FROM authority.key_pair WHERE (state = 'destroyed') <> (wrapped IS NULL)"
    ),
    "what is issued is signed, and an intent knows what is to be": (
        "SELECT ca || ' ' || serial FROM authority.certificate WHERE (state IN ('issued', 'valid', 'revoked') "
        "AND length(der) = 0) OR (state = 'intent' AND (length(tbs) = 0 OR length(der) > 0))"
    ),
    "every certificate's generation is known": (
        "SELECT c.ca || ' ' || c.serial FROM authority.certificate AS c LEFT JOIN authority.ca_generation AS g "
        "ON g.ca = c.ca AND g.generation = c.generation WHERE g.ca IS NULL"
    ),
    "what is revoked is on the list of revocations": (
        "SELECT c.ca || ' ' || c.serial FROM authority.certificate AS c LEFT JOIN authority.revocation AS r "
        "ON r.ca = c.ca AND r.serial = c.serial WHERE c.state = 'revoked' AND r.ca IS NULL"
    ),
}


async def examine(url: str) -> Examined:
    """Ask every question of the authority's schema.

    Args:
        url: of the database.

    Raises:
        Unavailable: it does not answer.
    """
    try:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await _examined(connection)
        finally:
            await connection.close(timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        failure = Unavailable(f"the authority's register does not answer: {type(error).__name__}")
    raise failure


async def _examined(connection: "asyncpg.Connection[asyncpg.Record]") -> Examined:
    findings = []
    for promise, question in _QUESTIONS.items():
        rows = [str(row[0]) for row in await connection.fetch(question)]
        if rows:
            findings.append(Finding(promise, len(rows), tuple(rows[:_SHOWN])))
    findings += await _blocks(connection)
    counts = [
        int(await connection.fetchval(f"SELECT count(*) FROM authority.{table}"))
        for table in ("certificate", "key_pair", "key_use")
    ]
    return Examined(certificates=counts[0], key_pairs=counts[1], uses=counts[2], findings=tuple(findings))


async def _blocks(connection: "asyncpg.Connection[asyncpg.Record]") -> list[Finding]:
    """A block of the stock has all its pairs, none of them used."""
    blocks = await connection.fetch("SELECT block_id, pairs FROM authority.key_block")
    ids = {pair: row[0] for row in blocks for pair, _ in msgspec.msgpack.decode(row[1], type=list[tuple[str, bytes]])}
    unused = await connection.fetch(
        "SELECT k.key_pair_id FROM authority.key_pair AS k LEFT JOIN authority.key_use AS u USING (key_pair_id) "
        "WHERE k.key_pair_id = ANY ($1::text[]) AND k.state = 'stocked' AND u.key_pair_id IS NULL",
        list(ids),
    )
    broken = sorted({ids[pair] for pair in set(ids) - {str(row[0]) for row in unused}})
    promise = "a block of the stock has all its pairs, none of them used"
    return [Finding(promise, len(broken), tuple(broken[:_SHOWN]))] if broken else []
