"""A card in use, for proofs and benches about the chip: all of it follows from a number, nobody's data is on it.

Its PINs do not occur in any of its files, so that one seen in a response was given away.
"""

from collections.abc import Coroutine, Sequence
from functools import cache
from hashlib import shake_256
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.serialization import load_der_private_key
from msgspec import Struct

from warifu.chip import client, contents, issuer, layout, personalise, scp03
from warifu.chip.card import Chip
from warifu.chip.issuer import HostChannel, IssuerCommand
from warifu.kernel.errors import Fault
from warifu.lab.simulation.keys import fixture_rsa

T = TypeVar("T")

CARD_ID: Final = "WRF0000SPECIMEN"
NUMBER_A, NUMBER_B = "123456789018", "55021720352285"
_MASTERS: Final = {layout.ISD: b"specimen master1", layout.JPKI: b"specimen master2"}
_KEY_NAMES: Final = ("authentication", "signature", "internal", "text", "face", "session")
_FIRST_KEY: Final = 900
"""Fixture keys from here on: far from those that simulated runs are dealt."""
_SPARE_KEYS: Final = 4

PinValues = dict[tuple[bytes, int], str]


class Specimen(Struct, frozen=True):
    """A card in use, its PINs, and the private keys (PKCS#8 DER) that are or may come onto it."""

    image: bytes
    pins: PinValues
    private_keys: tuple[bytes, ...]

    def __repr__(self) -> str:
        """Without the keys."""
        return "Specimen()"


class CountedEntropy:
    """Bytes that follow from a seed and how often they were asked for."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0

    def random_bytes(self, count: int) -> bytes:
        """``count`` bytes."""
        self._count += 1
        return shake_256(self._seed + self._count.to_bytes(8, "big")).digest(count)


def private_key(number: int) -> bytes:
    """A fixture key of the specimen's own row."""
    return fixture_rsa(_FIRST_KEY + number).private_key


def spare_key(number: int) -> bytes:
    """A key that is on no new specimen."""
    return private_key(len(_KEY_NAMES) + number % _SPARE_KEYS)


def static_keys(aid: bytes) -> issuer.StaticKeys:
    """The specimen's SCP03 keys."""
    return issuer.static_keys(lambda data: scp03.cmac(_MASTERS[aid], data), CARD_ID)


def channel(chip: Chip, aid: bytes, challenge: bytes = b"specimen") -> HostChannel:
    """Select a domain and start a channel to it."""
    drive(client.select_applet(transmit_of(chip), aid))
    response = chip.transmit(issuer.initialize_update(challenge))
    return host_channel(aid, challenge, response)


def host_channel(aid: bytes, challenge: bytes, response: bytes) -> HostChannel:
    """The owner's end of a channel. Raises as ``HostChannel``."""
    card_challenge = issuer.parse_initialize_update(response).card_challenge
    keys = issuer.session_keys(static_keys(aid), challenge, card_challenge)
    return HostChannel(aid, keys, challenge, response)


def write(
    chip: Chip, write_id: bytes, *, jpki: Sequence[IssuerCommand] = (), isd: Sequence[IssuerCommand] = ()
) -> None:
    """A whole card write. ``Fault`` when the chip refuses a part of it."""
    digest = issuer.running_digest(issuer.start_digest(write_id), (*jpki, *isd))
    if jpki:
        _run(chip, layout.JPKI, (issuer.begin(layout.JPKI, write_id), *jpki))
    end = issuer.commit(write_id, "specimen", digest)
    _run(chip, layout.ISD, (issuer.begin(layout.ISD, write_id), *isd, end))


def _run(chip: Chip, aid: bytes, commands: Sequence[IssuerCommand]) -> None:
    for command in channel(chip, aid).script(commands):
        response = chip.transmit(command)
        if response[-2:] != b"\x90\x00":
            raise Fault(f"the chip refused {command[1]:02X} with {response[-2:].hex()}")


def transmit_of(chip: Chip) -> client.Transmit:
    """A chip as ``warifu.chip.client`` wants it."""

    async def transmit(command: bytes) -> bytes:
        return chip.transmit(command)

    return transmit


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise Fault("the coroutine waits")


@cache
def specimen(variant: int = 0) -> Specimen:
    """The card of this number: other variants differ in PINs and contents, not in what they look like."""
    keys = [private_key(number) for number in range(len(_KEY_NAMES))]
    saved = [blank(variant)]
    chip = Chip(saved[0], saved.append, CountedEntropy(f"specimen {variant}"))
    write(chip, b"specimen write 1", jpki=_jpki_part(variant, keys), isd=_isd_part(variant))
    pins = _pins(variant)
    windows = [issuer.open_pin_window(aid, ref) for aid, ref in pins]
    write(
        chip,
        b"specimen write 2",
        jpki=[window for window in windows if window.aid == layout.JPKI],
        isd=[*(window for window in windows if window.aid == layout.ISD), issuer.set_life_state("in_use")],
    )
    _set_pins(chip, pins)
    _check_apart(chip, pins)
    spares = [spare_key(number) for number in range(_SPARE_KEYS)]
    return Specimen(saved[-1], pins, (*keys, *spares))


@cache
def blank(variant: int = 0) -> bytes:
    """The same card before anything was written onto it: only its own keys are there."""
    key = personalise.new_card_key(CountedEntropy(f"card key {variant}"))
    bare = personalise.manufacture(
        CARD_ID, isd_keys=static_keys(layout.ISD), jpki_keys=static_keys(layout.JPKI), card_key=key
    )
    chip_keys = personalise.ChipKeys(*(private_key(number) for number in range(2, len(_KEY_NAMES))))
    return personalise.with_chip_keys(bare, chip_keys)


def _pins(variant: int) -> PinValues:
    first, second = ("6", "Q") if variant % 2 else ("4", "V")
    return {
        (layout.JPKI, layout.AUTHENTICATION_PIN): f"{first}739",
        (layout.JPKI, layout.SIGNATURE_PIN): f"{second}K7XW2Z",
        (layout.TEXT, layout.TEXT_PIN): f"{first}856",
        (layout.JUKI, layout.JUKI_PIN): f"{first}961",
        (layout.COMMON, layout.COMMON_PIN): f"{first}693",
    }


def _filler(name: str, count: int) -> bytes:
    """Bytes without ASCII digits, so that no PIN can be in them."""
    return bytes(byte | 0x80 for byte in shake_256(name.encode()).digest(count))


def _jpki_part(variant: int, keys: Sequence[bytes]) -> list[IssuerCommand]:
    files = (
        layout.SIGNATURE_CERTIFICATE,
        layout.SIGNATURE_CA_CERTIFICATE,
        layout.AUTHENTICATION_CERTIFICATE,
        layout.AUTHENTICATION_CA_CERTIFICATE,
    )
    size = 1500
    commands = [
        command
        for fid in files
        for command in issuer.put_ef(
            layout.JPKI, fid, b"\x30\x82" + size.to_bytes(2, "big") + _filler(f"certificate {fid} {variant}", size)
        )
    ]
    modulus = _filler("terminal CA", 255) + b"\x81"
    return [
        *commands,
        *issuer.put_ef(layout.JPKI, layout.TOKEN_INFO, contents.token_info(CARD_ID)),
        issuer.put_key_pair("authentication", keys[0]),
        issuer.put_key_pair("signature", keys[1]),
        issuer.put_terminal_ca_key(contents.key_id("9200073"), modulus),
        issuer.set_certificate_availability(signature=True, authentication=True),
    ]


def _isd_part(variant: int) -> list[IssuerCommand]:
    number = contents.text_individual_number(NUMBER_A)
    attributes = contents.text_attributes("標本", "どこでもない所", "19800217", "9")
    body = contents.text_integrity_body(number, attributes)
    files = {
        (layout.TEXT, 1): number,
        (layout.TEXT, 2): attributes,
        (layout.TEXT, 3): contents.text_integrity(body, _filler(f"signature {variant}", 256)),
        (layout.TEXT, 5): contents.text_basic_info(contents.key_id("6000024")),
        (layout.FACE, 2): _filler(f"face {variant}", 12_000),
        (layout.COMMON, 1): contents.common_record(CARD_ID, "13221", "20350217"),
        (layout.JUKI, layout.JUKI_RESIDENT_CODE): _filler(f"resident {variant}", 11),
    }
    objects = contents.data_objects(CARD_ID, "13221", "20350217", contents.key_id("6000024"))
    numbers = (
        (layout.TEXT, layout.TEXT_NUMBER_A, NUMBER_A),
        (layout.TEXT, layout.TEXT_NUMBER_B, NUMBER_B),
        (layout.FACE, layout.FACE_NUMBER_A, NUMBER_A),
        (layout.FACE, layout.FACE_NUMBER_B, NUMBER_B),
        (layout.FACE, layout.FACE_BIRTH, NUMBER_B[:6]),
    )
    return [
        *(command for (aid, fid), content in files.items() for command in issuer.put_ef(aid, fid, content)),
        *(command for tag, content in objects.items() for command in issuer.put_ef(layout.ISD, tag, content)),
        *(issuer.set_verification_number(aid, ref, value) for aid, ref, value in numbers),
        issuer.set_life_state("set_up"),
    ]


def _set_pins(chip: Chip, pins: PinValues) -> None:
    transmit = transmit_of(chip)
    key = client.CardKey(CARD_ID, _card_point(chip))
    for window in drive(client.read_card_status(transmit)).windows:
        pin = pins[window.aid, window.ref]
        drive(client.set_pin(transmit, key, window, pin, CountedEntropy(f"terminal {window.ref} {window.aid.hex()}")))


def _card_point(chip: Chip) -> bytes:
    """The card key's public half, out of the image: the specimen has no certificate of it."""
    return personalise.card_point(chip.image.card_key)


def _check_apart(chip: Chip, pins: PinValues) -> None:
    for applet in chip.image.applets:
        for ef in applet.efs:
            if any(pin.encode() in ef.content for pin in pins.values()):
                raise Fault("a PIN of the specimen stands in one of its files")


def key_windows(private_keys: Sequence[bytes], others: Sequence[bytes] = (), size: int = 8) -> frozenset[bytes]:
    """Every ``size``-byte window of the keys' private components, and of other secrets."""
    windows: set[bytes] = set()
    for secret in (*(part for pkcs8 in private_keys for part in _components(pkcs8)), *others):
        windows.update(secret[at : at + size] for at in range(len(secret) - size + 1))
    return frozenset(windows)


def _components(pkcs8: bytes) -> list[bytes]:
    numbers = load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=True).private_numbers()  # type: ignore[union-attr]
    parts = [getattr(numbers, name) for name in ("d", "p", "q", "dmp1", "dmq1", "iqmp")]
    return [part.to_bytes((part.bit_length() + 7) // 8, "big") for part in parts]
