"""One operation, out of everything that bears its identifier; nothing of any other."""

import json
from pathlib import Path

import pytest

from warifu.kernel.ids import OperationId, new_ulid
from warifu.nodes.hsm_pool import MESSAGES_AT_ONCE, CommandRecord, Dump, PoolLimits
from warifu.stack import compose, trace
from warifu.stack.logs import JsonLog
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


def test_what_was_done_for_several_at_once_is_a_record_of_each_and_names_no_other(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The dump of a fenced HSM worker, as the node that fenced it writes it."""
    commands = (CommandRecord("DecryptMessage", "", 1, operations=(OTHER, MINE)), CommandRecord("SelfTest", "", 2, 3.0))
    compose._tell(JsonLog("relay-1"), Dump("relay-1/hsm-0", 7, "died", 5, commands))
    (tmp_path / "relay-1.jsonl").write_bytes(capfdbinary.readouterr().out)
    for wanted, other in ((MINE, OTHER), (OTHER, MINE)):
        (found,) = trace.of_logs(tmp_path, wanted)
        assert (found.where, found.kind, found.name) == ("relay-1", "log", "hsm.fenced")
        assert "worker=relay-1/hsm-0" in found.detail
        assert "commands=DecryptMessage::-1 SelfTest::3" in found.detail
        assert other not in found.detail


def test_a_dump_of_as_many_operations_as_can_be_is_a_whole_record(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """As many messages as go together, in each of its commands: the latest of them are told, in one bounded line."""
    ids = [new_ulid(number, bytes(10)) for number in range(PoolLimits().history * MESSAGES_AT_ONCE)]
    batches = [tuple(ids[first : first + MESSAGES_AT_ONCE]) for first in range(0, len(ids), MESSAGES_AT_ONCE)]
    commands = tuple(CommandRecord("DecryptMessage", "", 10**9, 1999.9, batch) for batch in batches)
    log = JsonLog("relay-1")
    compose._tell(log, Dump("relay-1/hsm-0", 4_194_304, "wrong_answer", 10**9, commands))
    (record,) = map(json.loads, capfdbinary.readouterr().out.splitlines())
    assert "cut" not in record
    assert record["operations"].split() == ids[: -compose.OPERATIONS_TOLD - 1 : -1]


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
