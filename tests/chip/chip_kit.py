"""A card for tests: manufactured, personalised and handed over through the real issuer commands, in memory."""

import asyncio
import datetime
import hashlib
from collections.abc import Coroutine, Sequence
from functools import cache
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from warifu.chip import client, contents, issuer, layout, personalise, scp03
from warifu.chip.card import Chip

T = TypeVar("T")

CARD_ID = "WRF000000000001"
WRITE_ID = bytes(range(16))
PINS = {"authentication": "1234", "signature": "ABC123", "text": "5678", "juki": "9012"}
NUMBER_A = "123456789018"
NUMBER_B = "55021720352285"
NAME, ADDRESS = "割符　花子", "東京都清瀬市１－２"


class SeededEntropy:
    """The same bytes every time."""

    def __init__(self, seed: bytes = b"seed") -> None:
        self._seed = seed
        self._count = 0

    def random_bytes(self, count: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(self._seed + self._count.to_bytes(8, "big")).digest(count)


def run(work: Coroutine[object, object, T]) -> T:
    return asyncio.run(work)


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    assert name
    return rsa.generate_private_key(65537, 2048)


def pkcs8(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def spki(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def modulus(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_numbers().n.to_bytes(256, "big")


def sign(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    return key.sign(data, padding.PKCS1v15(), SHA256())


@cache
def certificate(name: str, ca: str) -> bytes:
    def dn(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(dn(ca), dn(name), rsa_key(name).public_key(), 1000 + len(name))
    builder = builder.not_valid_before(start).not_valid_after(start.replace(year=2031))
    return builder.sign(rsa_key(ca), SHA256()).public_bytes(serialization.Encoding.DER)


MASTERS = {layout.ISD: bytes(range(16)), layout.JPKI: bytes(range(16, 32))}


def static_keys(aid: bytes, card_id: str = CARD_ID) -> issuer.StaticKeys:
    return issuer.static_keys(lambda data: scp03.cmac(MASTERS[aid], data), card_id)


def chip_keys() -> personalise.ChipKeys:
    """The chip's own RSA keys."""
    return personalise.ChipKeys(
        **{name: pkcs8(rsa_key(f"chip {name}")) for name in ("internal", "text", "face", "session")}
    )


@cache
def blank_image(card_id: str = CARD_ID, entropy: SeededEntropy | None = None) -> bytes:
    key = personalise.new_card_key(entropy or SeededEntropy(card_id.encode()))
    image = personalise.manufacture(
        card_id,
        isd_keys=static_keys(layout.ISD, card_id),
        jpki_keys=static_keys(layout.JPKI, card_id),
        card_key=key,
        card_key_signature=sign(rsa_key("management"), personalise.card_key_body(card_id, key)),
    )
    return personalise.with_chip_keys(image, chip_keys())


class Card:
    """A chip in memory that keeps every image it saved."""

    def __init__(self, image: bytes | None = None, *, strict: bool | None = None) -> None:
        first = image or blank_image()
        self.saved = [first]
        self.chip = Chip(first, self.saved.append, SeededEntropy(), clear_security_on_reselect_same_df=strict)

    def send(self, text: str) -> str:
        """Hex in, hex out."""
        return self.chip.transmit(bytes.fromhex(text)).hex().upper()

    async def transmit(self, command: bytes) -> bytes:
        return self.chip.transmit(command)

    def select(self, aid: bytes) -> None:
        assert self.send(f"00A4040C{len(aid):02X}{aid.hex()}") == "9000"

    def channel(self, aid: bytes, host_challenge: bytes = b"hostchal") -> issuer.HostChannel:
        """Select the domain and start a channel: INITIALIZE UPDATE is done, EXTERNAL AUTHENTICATE is in the script."""
        self.select(aid)
        response = self.chip.transmit(issuer.initialize_update(host_challenge))
        challenge = issuer.parse_initialize_update(response).card_challenge
        card_id = self.chip.card_id
        keys = issuer.session_keys(static_keys(aid, card_id), host_challenge, challenge)
        return issuer.HostChannel(aid, keys, host_challenge, response)

    def script(self, aid: bytes, commands: Sequence[issuer.IssuerCommand]) -> client.ScriptResult:
        return run(client.run_script(self.transmit, self.channel(aid).script(commands)))

    def write(
        self,
        *,
        write_id: bytes = WRITE_ID,
        jpki: Sequence[issuer.IssuerCommand] = (),
        isd: Sequence[issuer.IssuerCommand] = (),
        step: str = "test",
    ) -> bytes:
        """A whole card write, JPKI's part first; the committed digest."""
        digest = issuer.start_digest(write_id)
        if jpki:
            assert self.script(layout.JPKI, [issuer.begin(layout.JPKI, write_id), *jpki]).ok
            digest = issuer.running_digest(digest, jpki)
        digest = issuer.running_digest(digest, isd)
        end = issuer.commit(write_id, step, digest)
        result = self.script(layout.ISD, [issuer.begin(layout.ISD, write_id), *isd, end])
        assert result.ok, f"{result.failed_ins:02X} {result.status:04X}"
        return digest

    def hand_over(self) -> None:
        """Open every window and set the four PINs, as at a delivery."""
        refs = [pair for pairs in layout.PIN_REFERENCES.values() for pair in pairs]
        windows = [(aid, ref, issuer.open_pin_window(aid, ref)) for aid, ref in refs]
        self.write(
            write_id=b"delivery" * 2,
            jpki=[w for aid, _, w in windows if aid == layout.JPKI],
            isd=[*(w for aid, _, w in windows if aid != layout.JPKI), issuer.set_life_state("in_use")],
            step="delivery",
        )
        run(self._set_pins())

    async def _set_pins(self) -> None:
        status = await client.read_card_status(self.transmit)
        key = await client.read_card_key(self.transmit, spki(rsa_key("management")))
        for window in status.windows:
            pin = next(PINS[name] for name, refs in layout.PIN_REFERENCES.items() if (window.aid, window.ref) in refs)
            await client.set_pin(self.transmit, key, window, pin, SeededEntropy(b"terminal" + bytes((window.ref,))))


def face() -> contents.Face:
    png, photo = b"\x89PNG" + bytes(200), b"\x00\x00\x00\x0cjP  " + bytes(range(256)) * 40
    return contents.Face("19800217", "2", modulus(rsa_key("chip face")), png, png, photo, "20350217", png)


def cv_body(issuer: str = "6000023", subject: str = "6000024", key: str = "management") -> bytes:
    return contents.cv_certificate_body(contents.key_id(issuer), contents.key_id(subject), modulus(rsa_key(key)))


def signed_key_body() -> bytes:
    return contents.text_signed_key_body(modulus(rsa_key("chip text")))


def age_body() -> bytes:
    return contents.face_age_body("19800217", modulus(rsa_key("chip face")))


def number_body() -> bytes:
    return contents.face_number_body(b"\x89PNG" + bytes(80), modulus(rsa_key("chip face")))


def chain() -> contents.CertificateChain:
    """Root to intermediate, intermediate to the next."""
    upper, lower = cv_body("6000001", "6000002", "intermediate"), cv_body("6000002", "6000003", "below")
    return contents.CertificateChain(
        contents.key_id("6000002"),
        (upper, sign(rsa_key("root"), upper)),
        (lower, sign(rsa_key("intermediate"), lower)),
    )


def jpki_part() -> list[issuer.IssuerCommand]:
    return [
        *issuer.put_ef(layout.JPKI, layout.SIGNATURE_CERTIFICATE, certificate("signature", "signature CA")),
        *issuer.put_ef(layout.JPKI, layout.SIGNATURE_CA_CERTIFICATE, certificate("signature CA", "signature CA")),
        *issuer.put_ef(layout.JPKI, layout.AUTHENTICATION_CERTIFICATE, certificate("authentication", "auth CA")),
        *issuer.put_ef(layout.JPKI, layout.AUTHENTICATION_CA_CERTIFICATE, certificate("auth CA", "auth CA")),
        *issuer.put_ef(layout.JPKI, layout.TOKEN_INFO, contents.token_info(CARD_ID)),
        issuer.put_key_pair("authentication", pkcs8(rsa_key("authentication"))),
        issuer.put_key_pair("signature", pkcs8(rsa_key("signature"))),
        issuer.set_certificate_availability(signature=True, authentication=True),
    ]


def isd_part() -> list[issuer.IssuerCommand]:
    number, attributes = (
        contents.text_individual_number(NUMBER_A),
        contents.text_attributes(NAME, ADDRESS, "19800217", "2"),
    )
    integrity = contents.text_integrity_body(number, attributes)
    signer = rsa_key("management")
    files = {
        (layout.TEXT, 1): number,
        (layout.TEXT, 2): attributes,
        (layout.TEXT, 3): contents.text_integrity(integrity, sign(signer, integrity)),
        (layout.TEXT, 4): contents.cv_certificate(cv_body(), sign(signer, cv_body())),
        (layout.TEXT, 5): contents.text_basic_info(contents.key_id("6000024")),
        (layout.TEXT, 7): contents.text_signed_key(signed_key_body(), sign(signer, signed_key_body())),
        (layout.FACE, 1): contents.face_age(age_body(), sign(signer, age_body())),
        (layout.FACE, 2): contents.face_record(face(), sign(signer, contents.face_digest_info(face()))),
        (layout.FACE, 3): contents.face_basic_info(contents.key_id("6000024"), "13221", contents.key_id("6000025")),
        (layout.FACE, 4): contents.cv_certificate(cv_body(), sign(signer, cv_body())),
        (layout.FACE, 5): contents.face_number(number_body(), sign(signer, number_body())),
        (layout.COMMON, 1): contents.common_record(CARD_ID, "13221", "20350217"),
    }
    objects = contents.data_objects(CARD_ID, "13221", "20350217", contents.key_id("6000024"), chain())
    return [
        *(c for (aid, fid), content in files.items() for c in issuer.put_ef(aid, fid, content)),
        *(c for tag, content in objects.items() for c in issuer.put_ef(layout.ISD, tag, content)),
        issuer.set_verification_number(layout.TEXT, layout.TEXT_NUMBER_A, NUMBER_A),
        issuer.set_verification_number(layout.TEXT, layout.TEXT_NUMBER_B, NUMBER_B),
        issuer.set_verification_number(layout.FACE, layout.FACE_NUMBER_A, NUMBER_A),
        issuer.set_verification_number(layout.FACE, layout.FACE_NUMBER_B, NUMBER_B),
        issuer.set_verification_number(layout.FACE, layout.FACE_BIRTH, NUMBER_B[:6]),
        issuer.set_life_state("set_up"),
    ]


@cache
def _handed_over() -> bytes:
    card = Card()
    card.write(write_id=b"factory!" * 2, jpki=jpki_part(), isd=isd_part(), step="personalise")
    card.hand_over()
    return card.saved[-1]


def card_in_use(*, strict: bool | None = None) -> Card:
    """A card as its holder carries it."""
    return Card(_handed_over(), strict=strict)
