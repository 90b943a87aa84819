"""``warifu pki``: words and errors; the real thing is in tests/demo/test_demo_end_to_end.py."""

import datetime
import random
from pathlib import Path

import msgspec
import pytest

from warifu import cli
from warifu.cli import _pki_keys
from warifu.contract.values import CertificateState, CertificateView
from warifu.demo import web
from warifu.demo.errors import NoResponder
from warifu.demo.export import openssl_commands
from warifu.lab.rigs import pki_load
from warifu.stack.status import StackStatus


def test_without_a_stack_there_is_nothing_to_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARIFU_HOME", str(tmp_path))
    assert cli.main(["pki", "export", str(tmp_path / "pki")]) == 1
    assert capsys.readouterr().err.startswith("warifu: stack.not_running: ")
    assert not (tmp_path / "pki").exists()


@pytest.mark.parametrize("words", [["pki"], ["pki", "export"], ["pki", "import"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("warifu: usage: ")


def view(serial: int, state: CertificateState) -> CertificateView:
    day = datetime.date(2030, 1, 1)
    return CertificateView(kind="signature", serial=serial, state=state, card_id="WRF000000000001", not_after=day)


def test_commands_name_one_that_stands_and_one_that_is_revoked(tmp_path: Path) -> None:
    views = [view(1, "issued"), view(2, "revoked"), view(3, "valid"), view(4, "valid")]
    lines = openssl_commands(tmp_path, "http://127.0.0.1:9", views)
    assert [line for line in lines if line.startswith("#")] == ["# good", "# revoked"]
    assert "signature-3.pem" in lines[1]
    assert "-crl_check" in lines[1]
    assert lines[2].endswith("-url http://127.0.0.1:9/ocsp")
    assert "signature-2.pem" in lines[4]
    assert openssl_commands(tmp_path, "", []) == []


def test_paths_are_those_of_the_responder() -> None:
    assert web.list_path("signature") == "/crl/signature.crl"
    assert web.list_path("authentication", "131016") == "/crl/authentication/131016.crl"


def test_a_stack_without_responder() -> None:
    now = StackStatus(state="running", topology="x", home="", started_ms=1, balancer="")
    with pytest.raises(NoResponder):
        web.base_url(now)


def test_a_batch_is_named_after_its_orders_and_a_broken_line_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [pki_load.order(random.Random(number), number) for number in range(1, 204)]  # noqa: S311 - load
    file = tmp_path / "orders.jsonl"
    file.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in orders))
    count, batch_id = _pki_keys._measured(file)
    assert (count, [len(part) for part in _pki_keys._parts(file)]) == (203, [100, 100, 3])
    assert _pki_keys._measured(file) == (count, batch_id)
    monkeypatch.setattr(_pki_keys, "CARDS", 50)
    with file.open("ab") as lines:
        lines.write(b"{}\n")
    with pytest.raises(_pki_keys.BadFile, match="line 204"):
        _pki_keys._measured(file)


def test_a_holders_key_is_made_once_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "alice.key"
    with pytest.raises(_pki_keys.BadFile):
        _pki_keys._key(path)
    made = _pki_keys._key(path, make=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert _pki_keys._key(path, make=True).private_bytes_raw() == made.private_bytes_raw()
