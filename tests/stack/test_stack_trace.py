"""One operation, out of everything that bears its identifier; nothing of any other."""

import json
from pathlib import Path

import pytest

from warifu.kernel.ids import OperationId
from warifu.stack import trace
from warifu.stack.trace import Entry

MINE = OperationId("01KN349H7JCWVP6JB0Z64XFA6F")
OTHER = OperationId("01KN349H7JCWVP6JB0Z64XFA6G")


def line(at: str, process: str, operation_id: str, **fields: str) -> str:
    record = {"time": at, "process": process, "level": "info", "event": "passed", "operation_id": operation_id}
    return json.dumps(record | fields) + "\n"


def test_every_process_s_records_of_the_operation_are_found_in_old_files_too(tmp_path: Path) -> None:
    (tmp_path / "cs.jsonl").write_text(line("2026-01-13T00:00:01.500+00:00", "cs", MINE, step="set-up.1"))
    (tmp_path / "relay-1.3.jsonl").write_text(
        line("2026-01-13T00:00:01.250+00:00", "relay-1", MINE) + line("2026-01-13T00:00:01.300+00:00", "relay-1", OTHER)
    )
    found = trace.in_order(list(trace.of_logs(tmp_path, MINE)), MINE)
    assert [(each.at_ms % 60_000, each.where) for each in found] == [(1_250, "relay-1"), (1_500, "cs")]
    assert found[1] == Entry(found[1].at_ms, "cs", "log", "passed", "level=info step=set-up.1")


@pytest.mark.parametrize(
    "text",
    [
        f"{{{MINE}\n",
        json.dumps({"event": "output", "text": f"about {MINE}"}) + "\n",
        json.dumps({"time": "yesterday", "operation_id": MINE}) + "\n",
        json.dumps([MINE]) + "\n",
        line("2026-01-13T00:00:01+00:00", "cs", OTHER, step=MINE),
    ],
)
def test_what_only_names_it_is_no_record_of_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "cs.jsonl").write_text(text)
    assert list(trace.of_logs(tmp_path, MINE)) == []


def test_an_operation_of_which_nothing_is_known_is_told() -> None:
    with pytest.raises(trace.NothingTraced, match=MINE) as caught:
        trace.in_order([], MINE)
    assert caught.value.code == "trace.nothing"
