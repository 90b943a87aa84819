"""The proof by kills: it passes on the real thing, and notices what it is there to notice."""
# ruff: noqa: S608 - names of our own tables

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from warifu.lab.proofs.pki import Laboratory, finished
from warifu.lab.rigs.database import scratch_database
from warifu.lab.rigs.pki_register import examine

TABLES = ("certificate", "key_use", "key_pair", "sequences")


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    folder: Path = tmp_path_factory.mktemp("kills")
    with scratch_database() as url:
        yield Laboratory(folder, url)


def test_a_few_kills_leave_a_sound_register_and_every_part_can_be_finished(laboratory: Laboratory) -> None:
    notes: dict[str, float] = {}
    for seed in range(2):
        wrong, seen = laboratory.round(seed)
        assert wrong == []
        notes = {key: notes.get(key, 0) + value for key, value in seen.items()}
    assert notes["signatures"] > 0
    assert asyncio.run(finished(laboratory)) == []


async def damaged(laboratory: Laboratory, statement: str) -> list[str]:
    """What is found after one statement, which is undone again."""
    connection = await asyncpg.connect(laboratory.url)
    try:
        for table in TABLES:
            await connection.execute(f"CREATE TABLE saved_{table} AS SELECT * FROM authority.{table}")
        await connection.execute(statement)
        found = [each.promise for each in (await examine(laboratory.url)).findings]
        for table in TABLES:
            await connection.execute(f"TRUNCATE authority.{table}")
            await connection.execute(f"INSERT INTO authority.{table} SELECT * FROM saved_{table}")
            await connection.execute(f"DROP TABLE saved_{table}")
        return found
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("statement", "promise"),
    [
        (
            "DELETE FROM authority.certificate WHERE serial % 2 = 0",
            "every use has its certificate",
        ),
        ("DELETE FROM authority.key_use", "every certificate's key pair is in the consumption log"),
        (
            "UPDATE authority.sequences SET next_number = 2 WHERE name LIKE 'serial:%'",
            "no serial number that was not given out",
        ),
        ("UPDATE authority.certificate SET der = ''", "what is issued is signed"),
        ("UPDATE authority.key_pair SET state = 'free'", "no used key pair is free"),
    ],
)
def test_what_the_register_must_not_be_is_found(laboratory: Laboratory, statement: str, promise: str) -> None:
    assert any(each.startswith(promise) for each in asyncio.run(damaged(laboratory, statement)))
    assert asyncio.run(examine(laboratory.url)).findings == ()


def test_a_certificate_without_its_record_is_found(laboratory: Laboratory) -> None:
    async def lost() -> list[str]:
        connection = await asyncpg.connect(laboratory.url)
        await connection.execute("TRUNCATE authority.certificate, authority.key_use")
        await connection.close()
        laboratory.read = 0
        return (await laboratory.judged())[0]

    assert any("a certificate without its record" in text for text in asyncio.run(lost()))
