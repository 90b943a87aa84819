"""``warifu card``'s further words: what they print, what they refuse, and that they leave nothing behind."""

import asyncio
import base64
import json
from collections.abc import Awaitable
from pathlib import Path

import pytest
from cryptography import x509
from lend_kit import Desk, run

from warifu import cli
from warifu.adapters.net.http import HttpRequest, HttpResponse
from warifu.adapters.reader.files import FileReader, list_cards
from warifu.chip import client, layout
from warifu.domain.pki import ocsp
from warifu.kernel.errors import Malformed, NotFound
from warifu.lend.hold import TracedCard, saved
from warifu.lend.service import edge
from warifu.lend.trace import Line, Trace, read_line


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WARIFU_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_card_is_made_listed_and_revoked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["card", "make", "child", "--json", "--pin", "text=1111"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["pins"] == {"authentication": "1234", "text": "1111", "juki": "9012"}
    assert list_cards(home / "cards") == (made["card_id"],)
    assert cli.main(["card", "list"]) == 0
    assert made["card_id"] in capsys.readouterr().out
    assert cli.main(["card", "revoke", made["card_id"], "--event", "death"]) == 0
    assert capsys.readouterr().out.startswith("authentication ")
    folder = home / "ca"
    assert cli.main(["card", "ca", str(folder)]) == 0
    revoked = x509.load_der_x509_crl((folder / "authentication.crl").read_bytes())
    assert len(list(revoked)) == 1
    pem = x509.load_pem_x509_certificate((folder / "signature-ca.pem").read_bytes())
    assert pem == x509.load_der_x509_certificate((folder / "signature-ca.cer").read_bytes())


def test_another_home_can_be_named(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["card", "make", "child", "--home", str(tmp_path / "other")]) == 0
    assert "these PINs are told once" in capsys.readouterr().out
    assert len(list_cards(tmp_path / "other" / "cards")) == 1
    assert not home.exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["make", "nobody"], "lend.unknown_persona"),
        (["make", "adult", "--pin", "text=12"], "lend.bad_pin"),
        (["make", "adult", "--pin", "secret"], "lend.bad_pin"),
        (["revoke", "WRF000000000001"], "lend.not_lent"),
        (["revoke", "short"], "request.malformed"),
    ],
)
@pytest.mark.usefixtures("home")
def test_what_cannot_be_done_is_said_in_one_line(
    words: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["card", *words]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"warifu: {code}: ")


@pytest.mark.usefixtures("home")
def test_set_up_times_are_counted_and_reckoned(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["card", "setup-times"]) == 0
    out = capsys.readouterr().out
    assert "29 exchanges, 146 chip commands" in out
    assert "71.75" in out
    assert "115.47" in out


def test_a_saved_trace_is_read_again(desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, path = desk.card("adult"), tmp_path / "trace.jsonl"
    shown: list[Line] = []

    async def look() -> None:
        card = await FileReader(desk.home / "cards").connect(made.card_id)
        try:
            with saved(path, shown.append) as sink:
                traced = TracedCard(card, Trace(lambda: 0, sink))
                await client.read_ef(traced.transmit, layout.JPKI, layout.TOKEN_INFO)
                await traced.reset()
                assert traced.atr == card.atr
                assert await client.tries_left(traced.transmit, layout.TEXT, layout.TEXT_PIN) == 3
        finally:
            await card.close()

    run(look())
    assert [read_line(line) for line in path.read_bytes().splitlines()] == shown
    assert path.stat().st_mode & 0o077 == 0
    assert cli.main(["card", "read-trace", str(path)]) == 0
    assert "SELECT token info (0006)  →  done" in capsys.readouterr().out
    with pytest.raises(Malformed):
        read_line(b"{}")


async def _finished(answer: Awaitable[HttpResponse]) -> HttpResponse:
    return await answer


def test_relying_parties_are_answered(desk: Desk) -> None:
    request = ocsp.request([ocsp.cert_id(desk.authority.authority("signature"), 0x01000000)])

    def get(path: str, method: str = "GET", body: bytes = b"") -> bytes:
        answered = edge(desk.authority, lambda: desk.now_ms)(HttpRequest(method=method, path=path, body=body))
        return asyncio.run(_finished(answered)).body

    posted = get("/ocsp", "POST", request)
    assert get("/ocsp/" + base64.b64encode(request).decode()) == posted
    assert get("/ca/signature.cer") == desk.authority.register().roots["signature"]
    whole, place = get("/crl/signature.crl"), get("/crl/signature/131016.crl")
    assert x509.load_der_x509_crl(whole) != x509.load_der_x509_crl(place)
    for missing in ("/", "/crl/other.crl", "/crl/signature/999999.crl", "/ca/signature.pem"):
        with pytest.raises(NotFound):
            get(missing)
    for bad in ("/ocsp", "/ocsp/", "/ocsp/=="):
        with pytest.raises(Malformed):
            get(bad)


def test_the_edge_answers_from_the_register_as_it_stands(desk: Desk) -> None:
    handle = edge(desk.authority, lambda: desk.now_ms)

    async def ask() -> HttpResponse:
        return await handle(HttpRequest(method="GET", path="/crl/authentication.crl"))

    assert run(ask()).headers["content-type"] == "application/pkix-crl"
