"""The whole thing, and what outsiders say of it: a demonstration, then OpenSC and openssl on what it made.

One stack for the module. The reader's service runs in namespaces of its own, so that nothing of the machine is touched.
"""

import asyncio
import base64
import hashlib
import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from warifu.adapters.reader.files import FileReader, read_image
from warifu.chip import apdu, client, layout, tlv
from warifu.demo.people import PLACES
from warifu.demo.tally import STEPS
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.nodes.center.scripts import ROOT_KEY
from warifu.stack import keys
from warifu.stack.home import Home

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

COMMAND_S = 240
RESIDENTS = 4
INSIDE = """
import base64, json, subprocess, sys
from warifu.adapters.reader import pcscd
pcscd._private_run_folder()
pcscd._raise_loopback()
results = []
try:
    for command in json.loads(sys.stdin.read()):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        words = [base64.b64encode(part).decode() for part in (done.stdout, done.stderr)]
        results.append([done.returncode, *words])
finally:
    subprocess.run([sys.executable, "-P", "-m", "warifu.cli", "card", "eject"], capture_output=True, timeout=60)
print(json.dumps(results))
"""
"""Runs commands where /run/pcscd is empty and the network is nobody else's."""


@dataclass(frozen=True)
class Done:
    status: int
    out: bytes
    err: bytes


@dataclass(frozen=True)
class House:
    """A WARIFU_HOME after a demonstration, its stack running again."""

    root: Path
    report: dict[str, Any]
    pki: Path
    said: str

    def warifu(self, *words: str, status: int = 0) -> str:
        return warifu(self.root, *words, status=status)

    def pin(self, card_id: str, name: str) -> str:
        """A PIN as only the chip knows it: the driver forgot it when it ended."""
        aid, reference = next(places[0] for pin, places in PIN_PLACES.items() if pin == name)
        applet = read_image(self.root / "cards", card_id).applet(aid)
        assert applet is not None
        pin = applet.pin(reference)
        assert pin is not None
        return pin.value.decode()

    def certificate(self, card_id: str, fid: int) -> bytes:
        applet = read_image(self.root / "cards", card_id).applet(PIN_PLACES["signature"][0][0])
        assert applet is not None
        file = applet.ef(fid)
        assert file is not None
        return file.content


def warifu(root: Path, *words: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "warifu.cli", *words],
        env=os.environ | {"WARIFU_HOME": str(root)},
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == status, done.stdout[-3000:] + done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("end-to-end")
    root, result = folder / "home", folder / "out.json"
    warifu(root, "demo", "--residents", str(RESIDENTS), "--exit", "--json", str(result))
    assert "no stack runs" in warifu(root, "status", status=1)
    warifu(root, "up", "--detach")
    try:
        said = warifu(root, "pki", "export", str(folder / "pki"))
        yield House(root, json.loads(result.read_bytes()), folder / "pki", said)
    finally:
        warifu(root, "down")


def test_the_report_has_its_shape(house: House) -> None:
    report = house.report
    assert report["residents"] == RESIDENTS
    assert report["consistent"] is True
    assert report["problems"] == []
    assert len(set(report["cards"])) == RESIDENTS
    assert tuple(report["steps"]) == STEPS
    for name, figures in report["steps"].items():
        assert figures["failed"] == 0, name
        assert 1 <= figures["count"] <= RESIDENTS
        assert 0 < figures["seconds_p50"] <= figures["seconds_p99"]


def test_a_second_run_keeps_the_cards_of_the_first(house: House, tmp_path: Path) -> None:
    result = tmp_path / "out.json"
    said = house.warifu("demo", "--residents", "1", "--exit", "--json", str(result))
    assert "goes on" in said
    added = json.loads(result.read_bytes())
    assert added["consistent"] is True
    assert all(added["steps"][name]["count"] == 1 for name in STEPS)
    listed = {line.split()[0] for line in house.warifu("card", "list").splitlines()}
    assert listed == set(house.report["cards"]) | set(added["cards"])


def test_a_card_is_shown_without_its_secrets(house: House) -> None:
    for card_id in house.report["cards"]:
        shown = house.warifu("card", "show", card_id)
        assert "authentication" in shown
        assert "CN=" in shown
        names = [line.split()[0] for line in shown.splitlines()]
        assert {"signature", "authentication", "text", "juki"} <= set(names)
        assert house.pin(card_id, "text") not in shown.replace(card_id, "").split()


# ---- openssl -----------------------------------------------------------------------------------------------------


def openssl(*words: str | Path) -> Done:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, timeout=60, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def revoked_serials(house: House, kind: str) -> set[int]:
    crl = x509.load_der_x509_crl((house.pki / "crl" / f"{kind}.crl").read_bytes())
    return {entry.serial_number for entry in crl}


def exported(house: House) -> list[tuple[str, int, Path]]:
    found = []
    for path in sorted((house.pki / "certificates").glob("*.pem")):
        kind, _, serial = path.stem.partition("-")
        found.append((kind, int(serial), path))
    return found


def test_openssl_agrees_by_list_on_every_certificate(house: House) -> None:
    seen = set()
    for kind, serial, path in exported(house):
        root = house.pki / "ca" / f"{kind}.pem"
        checked = openssl("verify", "-crl_check", "-CAfile", root, "-CRLfile", house.pki / "crl" / f"{kind}.pem", path)
        revoked = serial in revoked_serials(house, kind)
        assert (checked.status != 0) is revoked, checked
        assert (b"certificate revoked" in checked.err) is revoked
        assert openssl("verify", "-CAfile", root, path).status == 0
        seen.add((kind, revoked))
    assert seen == {(kind, revoked) for kind in ("signature", "authentication") for revoked in (True, False)}


def test_openssl_agrees_by_the_municipalitys_list(house: House) -> None:
    """Exactly one municipality's list covers a certificate, and says what the full one says."""
    for kind, serial, path in exported(house):
        verdicts = []
        for place in PLACES:
            crl = house.pki / "crl" / f"{kind}-{place}.pem"
            verdicts.append(
                openssl("verify", "-crl_check", "-CAfile", house.pki / "ca" / f"{kind}.pem", "-CRLfile", crl, path)
            )
        covering = [one for one in verdicts if b"different CRL scope" not in one.err]
        assert len(covering) == 1
        assert (b"certificate revoked" in covering[0].err) is (serial in revoked_serials(house, kind))


def test_openssl_agrees_by_ocsp_on_every_certificate(house: House) -> None:
    url = json.loads(house.warifu("status", "--json"))["urls"]["responder"]
    for kind, serial, path in exported(house):
        root = house.pki / "ca" / f"{kind}.pem"
        answer = openssl("ocsp", "-issuer", root, "-CAfile", root, "-cert", path, "-url", f"{url}/ocsp")
        word = "revoked" if serial in revoked_serials(house, kind) else "good"
        assert b"Response verify OK" in answer.out + answer.err
        assert f"{path}: {word}".encode() in answer.out


def test_the_commands_that_are_printed_work(house: House) -> None:
    commands = [line.split() for line in house.said.splitlines() if line.startswith("openssl ")]
    assert [command[1] for command in commands] == ["verify", "ocsp", "verify", "ocsp"]
    assert [openssl(*command[1:]).status for command in commands] == [0, 0, 2, 0]


# ---- OpenSC ------------------------------------------------------------------------------------------------------


def at_the_reader(house: House, *commands: list[str]) -> list[Done]:
    """Run commands where the reader is; ``card insert`` finds no pcscd there and starts one."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        ["unshare", *user, "--mount", "--net", sys.executable, "-P", "-c", INSIDE],
        input=json.dumps(commands).encode(),
        env=os.environ | {"WARIFU_HOME": str(house.root)},
        capture_output=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Done(status, base64.b64decode(out), base64.b64decode(err)) for status, out, err in json.loads(done.stdout)]


def card(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "warifu.cli", "card", *words]


def grown_up(house: House) -> str:
    """A card in use with both certificates whose PINs are not blocked."""
    return next(
        str(card_id)
        for card_id in house.report["cards"]
        if read_image(house.root / "cards", card_id).life == "in_use" and house.pin(card_id, "signature")
    )


def test_opensc_reads_a_card_and_verifies_its_pin(house: House) -> None:
    card_id = grown_up(house)
    pin = house.pin(card_id, "authentication")
    wrong = f"{(int(pin) + 1) % 10_000:04}"
    inserted, name, listing, read, bad, good, again, shown, ejected, gone = at_the_reader(
        house,
        card("insert", card_id),
        ["opensc-tool", "-n"],
        ["pkcs15-tool", "-c"],
        ["pkcs15-tool", "--read-certificate", "1"],
        ["pkcs15-tool", "--verify-pin", "-a", "1", "--pin", wrong],
        ["pkcs15-tool", "--verify-pin", "-a", "1", "--pin", pin],
        card("insert", card_id),
        card("list"),
        card("eject"),
        card("eject"),
    )
    assert inserted.status == 0, inserted
    assert name.out == b"jpki\n"
    assert listing.out.count(b"X.509 Certificate") == 4
    der = x509.load_pem_x509_certificate(read.out).public_bytes(Encoding.DER)
    assert der == house.certificate(card_id, 0x000A)
    assert bad.status != 0
    assert good.status == 0, good
    assert again.status == 1
    assert b"warifu: reader.occupied: " in again.err
    assert f"{card_id}  in_use  in the reader".encode() in shown.out
    assert ejected.status == 0
    assert b"warifu: reader.empty: " in gone.err


def test_openssl_verifies_what_opensc_signed(house: House, tmp_path: Path) -> None:
    card_id = grown_up(house)
    message, digest = tmp_path / "message", tmp_path / "digest"
    message.write_bytes(b"two halves of one tally")
    assert openssl("dgst", "-sha256", "-binary", "-out", digest, message).status == 0
    signing = [
        ["pkcs15-crypt", "-s", "-k", number, "--pin", house.pin(card_id, kind), "--pkcs1", "--sha-256", "-R",
         "-i", str(digest), "-o", str(tmp_path / kind)]
        for number, kind in (("1", "authentication"), ("2", "signature"))
    ]  # fmt: skip
    for done in at_the_reader(house, card("insert", card_id), *signing):
        assert done.status == 0, done
    for kind, fid in (("authentication", 0x000A), ("signature", 0x0001)):
        public = x509.load_der_x509_certificate(house.certificate(card_id, fid)).public_key()
        pem = tmp_path / f"{kind}.pem"
        pem.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        verified = openssl("dgst", "-sha256", "-verify", pem, "-signature", tmp_path / kind, message)
        assert verified.out == b"Verified OK\n"


CHALLENGE = b"who are you, card?"


def objects(raw: bytes) -> dict[int, tlv.Tlv]:
    return {item.tag: item for item in tlv.parse(next(tlv.parse(raw)).value)}


def key_in(raw: bytes) -> rsa.RSAPublicKey:
    found = tlv.fields(raw)
    return rsa.RSAPublicNumbers(int.from_bytes(found[0x90], "big"), int.from_bytes(found[0x91], "big")).public_key()


def verify(key: rsa.RSAPublicKey, signature: bytes, signed: bytes) -> None:
    key.verify(signature, signed, padding.PKCS1v15(), SHA256())


async def read_applets(house: House, card_id: str) -> dict[tuple[bytes, int], bytes]:
    """Text 3, 4, 7 and face 1, 2, 4, 5 as a client gets them, and what each default key made of the challenge (0)."""
    image = read_image(house.root / "cards", card_id)
    card = await FileReader(house.root / "cards").connect(card_id)
    found: dict[tuple[bytes, int], bytes] = {}
    try:
        for aid, ref, fids in (
            (layout.TEXT, layout.TEXT_PIN, (3, 4, 7)),
            (layout.FACE, layout.FACE_BIRTH, (1,)),
            (layout.FACE, layout.FACE_NUMBER_A, (2, 4, 5)),
        ):
            applet = image.applet(aid)
            pin = applet.pin(ref) if applet is not None else None
            assert pin is not None
            await client.verify_pin(card.transmit, aid, ref, pin.value.decode())
            found |= {(aid, fid): await client.read_ef(card.transmit, None, fid) for fid in fids}
            found[aid, 0] = await client.call(card.transmit, apdu.build(0x80, 0x2A, 0x03, 0x00, CHALLENGE, 256))
    finally:
        await card.close()
    return found


def test_text_and_face_applet_hold_before_a_client_that_checks_every_signature(house: House) -> None:
    """From the key above card management's, which the stack made, down to the keys inside the chip."""
    files = asyncio.run(read_applets(house, grown_up(house)))
    root = load_der_public_key(keys.public_key(Home(house.root), "center", ROOT_KEY))
    assert isinstance(root, rsa.RSAPublicKey)
    certificate = tlv.fields(tlv.fields(files[layout.TEXT, 4])[0x7F21])
    verify(root, certificate[0x5F37], certificate[0x5F4E])
    management = key_in(certificate[0x5F4E][32:])
    assert files[layout.FACE, 4] == files[layout.TEXT, 4]
    for file, signature, signed in (
        (files[layout.TEXT, 3], 0xDF33, (0xDF31, 0xDF32)),
        (files[layout.TEXT, 7], 0xDF52, (0xDF51,)),
        (files[layout.FACE, 1], 0xDF13, (0xDF11, 0xDF12)),
        (files[layout.FACE, 5], 0xDF43, (0xDF41, 0xDF42)),
    ):
        parts = objects(file)
        verify(management, parts[signature].value, b"".join(parts[tag].raw for tag in signed))
    face = objects(files[layout.FACE, 2])
    groups = ((0xDF22, 0xDF23, 0xDF24), (0xDF25, 0xDF26), (0xDF27,))
    digests = b"".join(hashlib.sha256(b"".join(face[tag].raw for tag in tags)).digest() for tags in groups)
    signed_face = management.recover_data_from_signature(face[0xDF28].value, padding.PKCS1v15(), None)
    assert signed_face == bytes.fromhex("3071300D060960864801650304020105000460") + digests
    verify(key_in(objects(files[layout.TEXT, 7])[0xDF51].value), files[layout.TEXT, 0], CHALLENGE)
    verify(key_in(face[0xDF24].value), files[layout.FACE, 0], CHALLENGE)
    assert objects(files[layout.FACE, 1])[0xDF12].value == face[0xDF24].value
    assert objects(files[layout.FACE, 5])[0xDF42].value == face[0xDF24].value


# ---- verifiers ---------------------------------------------------------------------------------------------------


def test_a_verifier_registered_by_two_asks_the_front(house: House) -> None:
    name = ("pki", "verifiers")
    words = ("--kind", "signature", "--name", "Town Bank", "--approval", "MIC 2016-3")
    house.warifu(*name, "register", "town-bank", *words, "--as", "alice")
    told = house.warifu(*name, "approve", "town-bank", "--as", "alice", status=1)
    assert told.startswith("warifu: verifier.same_person: ")
    credential = house.warifu(*name, "approve", "town-bank", "--as", "bob").strip()
    serials = [int(path.stem.partition("-")[2]) for path in house.pki.glob("certificates/signature-*.cer")]
    answer = asked_front(house, credential, {"serials": [*serials, 1]})
    assert [one["serial"] for one in answer["statuses"]] == [*serials, 1]
    assert {one["status"] for one in answer["statuses"][:-1]} == {"good", "revoked"}
    assert json.loads(house.warifu(*name, "use", "town-bank", "--json"))["uses"][0]["certificates"] == len(serials) + 1
    house.warifu(*name, "suspend", "town-bank", "--as", "alice")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        asked_front(house, credential, {"serials": [1]})
    listed = json.loads(house.warifu(*name, "list", "--json"))["verifiers"]
    assert [(one["verifier_id"], one["state"]) for one in listed] == [("town-bank", "suspended")]


def asked_front(house: House, credential: str, question: dict[str, list[int]]) -> dict[str, Any]:
    url = json.loads(house.warifu("status", "--json"))["urls"]["front"]
    headers = {"Authorization": f"Bearer {credential}"}
    request = urllib.request.Request(f"{url}/status/signature", json.dumps(question).encode(), headers)  # noqa: S310
    trusted = ssl.create_default_context(cafile=house.root / "tls" / "node-ca.pem")
    with urllib.request.urlopen(request, context=trusted, timeout=30) as response:  # noqa: S310 - our own front
        answer: dict[str, Any] = json.loads(response.read())
        return answer


# ---- reports and search ------------------------------------------------------------------------------------------


def test_the_report_agrees_with_everybody_and_says_when_it_does_not(house: House) -> None:
    found = json.loads(house.warifu("pki", "report", "--json"))
    assert found["differences"] == []
    assert found["cards_made"] == found["cards_produced"] >= RESIDENTS
    assert found["issued"]["authentication"] >= found["cards_made"]
    assert "signature" in house.warifu("pki", "report", "--month", found["period"][:7])
    assert house.warifu("pki", "report", "--day", "x", status=1).startswith("warifu: report.bad_period: ")


def test_a_certificate_is_searched(house: House) -> None:
    (serial, *_) = [int(path.stem.partition("-")[2]) for path in house.pki.glob("certificates/signature-*.cer")]
    words = ("--kind", "signature", "--serial", str(serial), "--as", "alice", "--json")
    (one,) = json.loads(house.warifu("pki", "search", *words))["certificates"]
    assert one["serial"] == serial
    both = json.loads(house.warifu("pki", "search", "--card", one["card_id"], "--as", "alice", "--json"))
    assert one in both["certificates"]
    told = house.warifu("pki", "search", "--municipality", "1", "--as", "alice", status=1)
    assert told.startswith("warifu: search.bad_words: municipality")


# ---- audit -------------------------------------------------------------------------------------------------------


def test_the_audit_trails_are_whole_here_and_elsewhere(house: House, tmp_path: Path) -> None:
    trail = tmp_path / "trail.json"
    said = house.warifu("audit", "verify", "--export", str(trail))
    assert said.count("are whole") == 8
    assert said.count("signed by") == 7  # the counters have no HSM
    assert set(house.warifu("audit", "keys").split()) <= set(said.split())
    head = next(word for word in said.split() if word.startswith("numbering="))
    assert said == house.warifu("audit", "verify", "--file", str(trail), "--head", head)
    changed = tmp_path / "changed.json"
    changed.write_bytes(trail.read_bytes().replace(b"card.personalise", b"card.personalize"))
    assert "warifu: audit.broken: " in house.warifu("audit", "verify", "--file", str(changed), status=1)
    cut = json.loads(trail.read_bytes())
    cut["trails"]["numbering"] = {"rows": [], "seals": []}
    changed.write_text(json.dumps(cut))
    house.warifu("audit", "verify", "--file", str(changed))
    told = house.warifu("audit", "verify", "--file", str(changed), "--head", head, status=1)
    assert told.startswith("warifu: audit.broken: numbering: ")
