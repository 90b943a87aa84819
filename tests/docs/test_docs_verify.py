"""The page ``docs/verify.md`` is true: its examples run, one after another, on what a relying party has."""

import re
import time
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from docs_pages import DOCS

from warifu.contract.values import Person
from warifu.domain.pki import ocsp
from warifu.domain.pki.dates import certificate_validity
from warifu.domain.pki.names import point_of
from warifu.domain.pki.profile import SignatureContent, common_name, subscriber_data
from warifu.kernel.calendar import jst_date
from warifu.lend.authority import KINDS, CertificateOrder, LendingAuthority
from warifu.lend.register import Issued
from warifu.verify import VerificationFailed

PAGE = DOCS / "verify.md"
NONCE = b"0123456789abcdef"
PERSON = Person(
    name="黒桐　幹也", birth_date=date(1980, 2, 17), sex="male", address="東京都清瀬市１－２", municipality="132217"
)


def issued(authority: LendingAuthority, card_id: str, public_key: bytes, now_ms: int) -> Issued:
    """A signature certificate, from now on."""
    stamp, point = common_name("20251027110000", "132217"), point_of("132217")
    content = SignatureContent(
        serial=1,
        public_key=public_key,
        validity=certificate_validity(now_ms, PERSON.birth_date, date(jst_date(now_ms).year + 10, 2, 17)),
        subscriber=subscriber_data(PERSON, municipality="132217", point=point, common_name=stamp),
    )
    order = CertificateOrder(ca="signature", card_id=card_id, persona="adult", municipality="132217", content=content)
    return authority.issue(order)


def present(folder: Path) -> None:
    """What ``warifu pki export`` writes, and what a holder and a responder send."""
    now_ms = time.time_ns() // 1_000_000 - 5_000
    authority = LendingAuthority(folder / "lend", now_ms)
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public_key = key.public_key().public_bytes(serialization.Encoding.DER, form)
    good, revoked = (issued(authority, card, public_key, now_ms) for card in ("CARD1", "CARD2"))
    authority.revoke("CARD2", "key_compromise", now_ms)
    for name in ("ca", "crl"):
        (folder / "pki" / name).mkdir(parents=True)
    for kind in KINDS:
        (folder / "pki/ca" / f"{kind}-1.cer").write_bytes(authority.register().roots[kind])
        (folder / "pki/crl" / f"{kind}.crl").write_bytes(authority.revocation_list(kind, now_ms))
    request = ocsp.request([ocsp.cert_id(authority.authority("signature"), good.serial)], NONCE)
    files = {
        "presented.cer": good.der,
        "revoked.cer": revoked.der,
        "message": b"a contract",
        "signature": key.sign(b"a contract", padding.PKCS1v15(), hashes.SHA256()),
        "answer.der": authority.ocsp_response(request, now_ms),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_the_examples_run_and_print_what_they_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    present(tmp_path)
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    said = capsys.readouterr().out.split()
    assert said[1:] == ["319800217", "verify.revoked", "key_compromise", "verify.signature_invalid"]


def test_every_error_stands_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    codes = {each.code for each in VerificationFailed.__subclasses__()}
    assert {code for code in codes if f"`{code}`" not in page} == set()
