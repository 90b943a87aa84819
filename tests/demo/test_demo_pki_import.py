"""The records of a closed authority move here: counted, reconciled, and none twice whatever breaks."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from warifu.adapters.clock import SystemClock
from warifu.adapters.store.migrate import migrate
from warifu.demo import pki_import
from warifu.demo.pki_import import Imported, import_file
from warifu.domain.certificates.imported import ImportDiffers, ImportRefused, Line, line_of
from warifu.lab.rigs.database import scratch_database
from warifu.synthetic.closed_authority import lines

COUNT = 2_500


class PowerError(Exception):
    """The power went."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with scratch_database() as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    asyncio.run(migrate(server, lambda _line: None, ("authority",)))
    yield server
    asyncio.run(emptied(server))


async def emptied(server: str) -> None:
    connection = await asyncpg.connect(server)
    await connection.execute("TRUNCATE authority.imported_certificate, authority.imported_authority")
    await connection.close()


def written(folder: Path, text: list[str]) -> Path:
    path = folder / "closed.jsonl"
    path.write_text("\n".join(text) + "\n")
    return path


def made() -> list[str]:
    return list(lines("pref-13", "131016", COUNT))


def imported(url: str, path: Path, report: Callable[[int], None] = lambda _count: None) -> Imported:
    return asyncio.run(import_file(url, path, SystemClock(), report))


@pytest.mark.real
def test_a_file_is_imported_counted_and_imported_again_without_effect(url: str, tmp_path: Path) -> None:
    path = written(tmp_path, made())
    first = imported(url, path)
    tail = json.loads(made()[-1])
    assert (first.certificates, first.revoked, first.already) == (COUNT, tail["revoked"], 0)
    again = imported(url, path)
    assert (again.certificates, again.already) == (COUNT, COUNT)


@pytest.mark.real
def test_an_interrupted_import_goes_on(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki_import, "BATCH", 1_000)
    path = written(tmp_path, made())

    def report(count: int) -> None:
        if count == 2_000:
            raise PowerError

    with pytest.raises(PowerError):
        imported(url, path, report)
    done = imported(url, path)
    assert (done.certificates, done.already) == (COUNT, 2_000)


@pytest.mark.real
def test_counts_that_do_not_agree_are_a_difference(url: str, tmp_path: Path) -> None:
    text = made()
    del text[7]
    with pytest.raises(ImportDiffers, match=f"{COUNT - 1} certificates are here, the file says {COUNT}"):
        imported(url, written(tmp_path, text))


@pytest.mark.real
def test_a_file_that_is_cut_or_goes_on_after_its_tail_is_not_whole(url: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="no tail"):
        imported(url, written(tmp_path, made()[:-1]))
    with pytest.raises(ImportRefused, match="more after the tail"):
        imported(url, written(tmp_path, [*made(), made()[-2]]))


@pytest.mark.parametrize(
    "change",
    [
        {"serial": 5},
        {"serial": 0},
        {"not_after": "2010-01-01"},
        {"reason": "superseded"},
        {"revoked_ms": 5},
        {"revoked_ms": 5, "reason": "boredom"},
        {"municipality": "x"},
        {"name": "somebody"},
    ],
)
def test_a_line_that_is_not_of_the_format_is_refused_by_its_number(change: dict[str, object]) -> None:
    whole = {"serial": 6, "not_before": "2013-04-01", "not_after": "2016-03-31", "municipality": "131016"}
    assert isinstance(line_of(json.dumps(whole).encode(), 9, 5), Line)
    with pytest.raises(ImportRefused, match="line 9: "):
        line_of(json.dumps(whole | change).encode(), 9, 5)
