"""The table of what the documents ask says the truth about the tree, and each failure of 2016 has its page."""

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
SEEDS: Final = ROOT / "docs" / "seeds.md"
FAILURES: Final = ROOT / "docs" / "failures"
STATES: Final = ("done", "part", "not yet")
COLUMNS: Final = ["id", "where", "statement", "room", "test", "state"]
NOTHING: Final = "—"
OUTSIDE: Final = re.compile(r"outside: \S.+")
STATE: Final = re.compile(r"done|(part|not yet) \([^()]+\)")


class Row(NamedTuple):
    """One statement."""

    id: str
    where: str
    statement: str
    room: str
    test: str
    state: str

    @property
    def kind(self) -> str:
        return self.state.split(" (")[0]

    def paths(self) -> list[str]:
        return re.findall(r"`([^`]+)`", f"{self.room} {self.test}")


def rows_of(text: str) -> list[Row]:
    """The rows of all tables, whose heads are all alike."""
    found = []
    for line in text.splitlines():
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == len(COLUMNS), line
        if cells != COLUMNS and set(line) - set("|-"):
            found.append(Row(*cells))
    return found


ROWS: Final = rows_of(SEEDS.read_text("utf-8"))


def missing(row: Row) -> list[str]:
    """Paths the row names that are not there."""
    return [path for path in row.paths() if not (ROOT / path).exists()]


def test_both_documents_are_in_the_table_under_ids_of_their_own() -> None:
    ids = [row.id for row in ROWS]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"S[01]-[0-9]{3}", each) for each in ids)
    assert {each[:2] for each in ids} == {"S0", "S1"}
    assert len(ids) >= 150


def test_every_row_is_whole_and_in_one_of_three_states_or_outside() -> None:
    for row in ROWS:
        assert row.where, row.id
        assert row.statement.endswith("."), row.id
        assert row.room, row.id
        if OUTSIDE.fullmatch(row.room):
            assert (row.test, row.state) == (NOTHING, NOTHING), row.id
        else:
            assert STATE.fullmatch(row.state), f"{row.id}: {row.state}"
            assert row.kind in STATES, row.id


def test_what_is_claimed_is_there() -> None:
    claimed = [row for row in ROWS if row.kind in {"done", "part"}]
    assert [row.id for row in claimed if not row.paths()] == []
    assert {row.id: missing(row) for row in claimed if missing(row)} == {}


def test_what_is_done_is_tested() -> None:
    for row in ROWS:
        if row.kind == "done":
            tests = re.findall(r"`(tests/[^`]+\.py)`", row.test)
            assert tests, row.id
            assert all("def test_" in (ROOT / path).read_text("utf-8") for path in tests), row.id


def test_the_check_sees_what_it_looks_for() -> None:
    head = f"| {' | '.join(COLUMNS)} |\n|---|---|---|---|---|---|\n"
    (row,) = rows_of(head + "| S0-001 | 1 | It is so. | `src/warifu/nowhere.py` | — | part (nothing) |\n")
    assert missing(row) == ["src/warifu/nowhere.py"]
    assert not STATE.fullmatch("nearly done")
    assert not STATE.fullmatch("part")


def test_each_failure_has_a_page_that_names_its_safeguard_and_real_paths() -> None:
    table = (FAILURES / "README.md").read_text("utf-8")
    for number in range(1, 15):
        page = (FAILURES / f"F{number}.md").read_text("utf-8")
        guards = re.search(r"\*\*Safeguards?:\*\* (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*)", page)
        assert guards, f"F{number}"
        assert f"| [F{number}](F{number}.md) |" in table
        assert f"| {guards[1]} |" in table
        paths = re.findall(r"`((?:src|tests|docs)/[^`]+)`", page)
        assert paths
        assert [path for path in paths if not (ROOT / path).exists()] == []
