"""``warifu bench pki``: every row on both devices; on a machine without wrk and nginx, too."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from warifu.kernel.errors import Fault
from warifu.lab.benches import pki
from warifu.lab.benches.pki_issue import bench_issue
from warifu.lab.benches.pki_ocsp_http import asker, beside
from warifu.lab.rigs.bare_http import Question, asked, serving
from warifu.lab.rigs.processor import Spent, spent


def test_each_asking_has_another_number_and_nonce_and_nothing_else() -> None:
    question = Question(path="/", body=b"<....|................>", serial_at=1, first=0x01020304, count=1, nonce_at=6)
    one, other = question.next(), question.next()
    assert one[:6] == other[:6] == b"<\x01\x02\x03\x04|"
    assert one[6:22] != other[6:22]
    assert len(one) == len(other) == len(question.body)
    assert one[22:] == b">"


def test_our_own_client_counts_what_a_server_answers() -> None:
    async def counted() -> float:
        async with serving(b"an answer", "text/plain") as port:
            return await asked([port], Question(path="/"), connections=4, seconds=0.05)

    assert asyncio.run(counted()) > 0


def test_what_is_no_answer_is_not_counted(capfd: pytest.CaptureFixture[str]) -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def refused() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        async with server:
            await asked([server.sockets[0].getsockname()[1]], Question(path="/"), connections=1, seconds=0.05)

    with pytest.raises(ExceptionGroup) as failure:
        asyncio.run(refused())
    assert isinstance(failure.value.exceptions[0], Fault)
    assert "an answer that is none" in capfd.readouterr().err


def test_without_wrk_and_nginx_the_row_says_what_took_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_named: None)
    questions = asker(tmp_path, Question(path="/"))
    assert "wrk is missing" in questions.name

    async def beside_ours() -> float:
        async with beside(tmp_path / "beside", b"an answer") as other:
            assert "nginx is missing" in other.name
            return await questions.rate(other.ports, 0.05)

    assert asyncio.run(beside_ours()) > 0


def test_processor_time_is_counted_where_it_is_spent() -> None:
    before = spent()
    while (since := spent() - before).node < 0.03:
        sum(range(20_000))
    assert since.workers == 0.0
    assert (since + Spent(workers=1.0)).total == pytest.approx(since.node + since.database + 1.0)


@pytest.mark.real
def test_bulk_issue_is_measured_on_both_devices_with_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "RATIOS", 1)  # nine when it counts
    rows = asyncio.run(bench_issue(0.1))
    assert [row["name"] for row in rows] == ["pki.issue.software", "pki.issue.softhsm"]
    for row in rows:
        assert len(row["runs"]) == 1
        assert re.search(r"signatures \d+ µs, the node \d+, PostgreSQL \d+", row["notes"][0])
