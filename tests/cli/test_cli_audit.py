"""``warifu audit verify``: words and errors; with a database in tests/demo/test_demo_end_to_end.py."""

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from warifu import cli
from warifu.adapters.store.audit import AuditBroken, AuditRow, Seal, next_seal
from warifu.nodes.sealing import head_to_sign
from warifu.ports.store import AuditEntry
from warifu.stack import audit_export
from warifu.stack.audit_export import Export, Trail

ROWS = tuple(AuditRow(1, number, 1000 + number, AuditEntry("clerk", "look", "x", "op", "window")) for number in (1, 2))
SEAL = next_seal(None, ROWS, 5000)
WHOLE = Export(trails={"center": Trail(ROWS, (SEAL,)), "registry": Trail((), ())})


def written(tmp_path: Path, export: Export) -> str:
    path = tmp_path / "trail.json"
    audit_export.write(path, export)
    assert path.stat().st_mode & 0o777 == 0o600
    return str(path)


def test_a_whole_export_verifies_without_a_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, WHOLE)
    assert cli.main(["audit", "verify", "--file", path, "--head", f"center={SEAL.head.hex()}"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"center: 2 entries under 1 seals are whole; head center={SEAL.head.hex()} not signed"
    assert second.startswith("registry: 0 entries")


def signed(seal: Seal, key: rsa.RSAPrivateKey, schema: str = "center") -> Seal:
    signature = key.sign(head_to_sign(schema, seal.head), padding.PKCS1v15(), SHA256())
    return msgspec.structs.replace(seal, signature=signature)


def spki(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def test_signed_heads_verify_under_the_key_that_was_noted_down(
    key: rsa.RSAPrivateKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = Export(trails={"center": Trail(ROWS, (signed(SEAL, key),))}, keys={"center": (spki(key),)})
    noted = audit_export.fingerprint_of(spki(key))
    assert cli.main(["audit", "verify", "--file", written(tmp_path, export), "--key", f"center={noted}"]) == 0
    assert capsys.readouterr().out.endswith(f" signed by center={noted}\n")


def test_what_was_sealed_before_signing_began_is_covered_by_the_first_signed_head(key: rsa.RSAPrivateKey) -> None:
    later = next_seal(SEAL, (msgspec.structs.replace(ROWS[0], id=9),), 6000)
    rows = (*ROWS, msgspec.structs.replace(ROWS[0], id=9))
    export = Export(trails={"center": Trail(rows, (SEAL, signed(later, key)))}, keys={"center": (spki(key),)})
    assert audit_export.verify(export, {})["center"].report.signed == 1


def test_a_database_owner_who_makes_the_chain_anew_cannot_sign_it(key: rsa.RSAPrivateKey) -> None:
    forged_rows = (msgspec.structs.replace(ROWS[0], at_ms=1), ROWS[1])
    forged = next_seal(None, forged_rows, 5000)
    old = signed(SEAL, key).signature
    elsewhere = signed(forged, key, "registry")
    for seal in (forged, msgspec.structs.replace(forged, signature=old), elsewhere):
        export = Export(trails={"center": Trail(forged_rows, (seal,))}, keys={"center": (spki(key),)})
        with pytest.raises(AuditBroken, match="center: batch 1: its head is not signed"):
            audit_export.verify(export, {})


def test_an_export_with_another_key_is_not_the_one_noted_down(key: rsa.RSAPrivateKey) -> None:
    export = Export(trails={"center": Trail(ROWS, (signed(SEAL, key),))}, keys={"center": (spki(key),)})
    with pytest.raises(AuditBroken, match="does not name the key"):
        audit_export.verify(export, {}, {"center": "00" * 32})


def test_what_is_not_sealed_yet_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, Export(trails={"center": Trail(ROWS, ())}))
    assert cli.main(["audit", "verify", "--file", path]) == 0
    assert "0 entries under 0 seals are whole, 2 not sealed yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("export", "words"),
    [
        (Export(trails={"center": Trail(ROWS[1:], (SEAL,))}), []),
        (Export(trails={"center": Trail((), ())}), ["--head", f"center={SEAL.head.hex()}"]),
        (Export(trails={}), ["--head", f"center={SEAL.head.hex()}"]),
        (WHOLE, ["--head", "center=00"]),
    ],
)
def test_what_was_changed_is_told(
    export: Export, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["audit", "verify", "--file", written(tmp_path, export), *words]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("warifu: audit.broken: center: ")


@pytest.mark.parametrize(("content", "words"), [("{}", []), ("no JSON", []), ('{"version":2,"trails":{}}', [])])
def test_what_is_no_export_is_told(
    content: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    assert cli.main(["audit", "verify", "--file", str(path), *words]) == 1
    assert capsys.readouterr().err.startswith("warifu: audit.bad_export: ")


def test_a_file_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "verify", "--file", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("warifu: audit.bad_export: ")


def test_a_head_has_its_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "verify", "--file", written(tmp_path, WHOLE), "--head", "center=xyz"]) == 1
    assert capsys.readouterr().err.startswith("warifu: audit.bad_head: ")


def test_without_a_stack_there_is_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARIFU_HOME", str(tmp_path))
    assert cli.main(["audit", "verify"]) == 1
    assert capsys.readouterr().err.startswith("warifu: stack.not_running: ")
