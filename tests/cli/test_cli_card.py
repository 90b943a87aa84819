"""``warifu card``: words and errors; the reader itself is in tests/demo/test_demo_end_to_end.py."""

import fcntl
from pathlib import Path

import pytest

from warifu import cli
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.reader import pcsc, pcscd
from warifu.adapters.reader.files import store_card
from warifu.chip.issuer import StaticKeys
from warifu.chip.personalise import manufacture, new_card_key
from warifu.demo import desk
from warifu.stack.home import Home

CARD = "WRF000000000001"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("WARIFU_HOME", str(tmp_path))
    made = Home(tmp_path)
    made.prepare()
    return made


def blank_card(home: Home) -> None:
    keys = StaticKeys(enc=bytes(16), mac=bytes(16), dek=bytes(16))
    card_key = new_card_key(SystemEntropy())
    image = manufacture(CARD, isd_keys=keys, jpki_keys=keys, card_key=card_key, card_key_signature=bytes(256))
    store_card(home.cards, CARD, image)


def test_no_cards_at_first(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["card", "list"]) == 0
    assert capsys.readouterr().out == ""
    assert desk.inserted(home) is None


def test_a_blank_card_is_listed_and_shown(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    blank_card(home)
    assert cli.main(["card", "list"]) == 0
    assert capsys.readouterr().out == f"{CARD}  made\n"
    assert cli.main(["card", "show", CARD]) == 0
    shown = capsys.readouterr().out
    assert "life state   made" in shown
    assert shown.count("not set") == 4


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["card", "show", CARD], "card.unknown"),
        (["card", "insert", CARD], "card.unknown"),
        (["card", "show", "../../etc/passwd"], "request.malformed"),
        (["card", "eject"], "reader.empty"),
    ],
)
def test_errors_in_one_line(words: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"warifu: {code}: ")
    assert told.count("\n") == 1


def test_a_reader_that_holds_a_card_takes_no_other(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    blank_card(home)
    path = desk.state_path(home)
    with path.open("w") as held:
        held.write(f"4711 {CARD}\n")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        assert desk.inserted(home) == desk.Inserted(4711, CARD)
        assert cli.main(["card", "insert", CARD]) == 1
        assert capsys.readouterr().err.startswith(f"warifu: reader.occupied: card {CARD} ")
        assert cli.main(["card", "list"]) == 0
        assert "in the reader" in capsys.readouterr().out
    assert desk.inserted(home) is None


def test_each_slot_holds_a_card_of_its_own(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    blank_card(home)
    with desk.state_path(home, 2).open("w") as held:
        held.write(f"4712 {CARD}\n")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        assert desk.inserted(home) is None
        assert cli.main(["card", "insert", CARD, "--slot", "2"]) == 1
        assert capsys.readouterr().err.startswith(f"warifu: reader.occupied: card {CARD} ")
        assert cli.main(["card", "list"]) == 0
        assert "in the reader's slot 2" in capsys.readouterr().out
    assert cli.main(["card", "eject", "--slot", "2"]) == 1
    assert "slot 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("result", "told"), [(0x8010001D, "start pcscd"), (0x8010001E, "start pcscd"), (0x80100001, "80100001")]
)
def test_readers_without_a_service_say_what_is_missing(
    result: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pcsc, "_call", lambda *_: result)
    assert cli.main(["card", "readers"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("warifu: reader.pcsc: ")
    assert told in error


def test_who_may_not_start_pcscd_is_told_so(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blank_card(home)
    monkeypatch.setattr(desk, "is_running", lambda: False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["card", "insert", CARD]) == 1
    assert capsys.readouterr().err.startswith("warifu: reader.no_pcscd: ")


def test_a_pcscd_that_does_not_answer_does_not_run(tmp_path: Path) -> None:
    assert not pcscd.is_running(tmp_path)
