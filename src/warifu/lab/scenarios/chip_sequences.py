"""Sequences of commands to one chip that follow from a seed, each judged by ``chip_oracle``.

Sensible ones, so that deep states are reached (PINs shown, a session or a channel open, a write staged and committed);
the same damaged; and noise. Each seventh seed begins with a blank card, the others with one in use.
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from random import Random
from typing import Final

from warifu.chip import apdu, contents, issuer, layout
from warifu.chip.card import Chip
from warifu.chip.image import Access, Applet, Ef, Image, Pin
from warifu.chip.issuer import IssuerCommand
from warifu.chip.keys import EXPONENT, modulus_of
from warifu.chip.layout import COMMON, FACE, ISD, JPKI, JUKI, TEXT
from warifu.chip.sessions import DELIVERY_HEAD, TerminalMessages
from warifu.chip.terminal_keys import certificate_commands
from warifu.kernel.errors import WarifuError
from warifu.lab.scenarios.chip_oracle import Watched
from warifu.lab.simulation.specimen import (
    NUMBER_A,
    CountedEntropy,
    blank,
    host_channel,
    key_windows,
    spare_key,
    specimen,
    static_keys,
)

_OK: Final = b"\x90\x00"
LENGTH: Final = 100
"""Commands in a sequence."""
_BLANK_EACH: Final = 7
_AIDS: Final = (ISD, JPKI, TEXT, FACE, JUKI, COMMON)
_LIBRARY: Final = bytes.fromhex("D39200010001100001")
_CLASSES: Final = (0x00, 0x00, 0x80, 0x80, 0x84, 0x08, 0x0C)
_INS: Final = bytes.fromhex("A4B0B2CA8420243 22C2A8850528254A2AEFC8AE0E2E4E6D8DED4D6F0DAD2DC46C2C4".replace(" ", ""))
_P1P2: Final = bytes.fromhex("00010204060C80818A909193949798999B9CC1FF")
_LAST_FID: Final = 0x1F


def play(seed: int, length: int = LENGTH, *, variant: int = 0) -> Watched:
    """Run one sequence on a card of this variant."""
    image = specimen(variant).image if seed % _BLANK_EACH else blank(variant)
    saved = [image]
    random = Random(f"{seed}/apdu")  # noqa: S311 - repeatable on purpose
    chip = Chip(
        image, saved.append, CountedEntropy(f"{seed}"), make_key=lambda: spare_key(random.randrange(4)),
        clear_security_on_reselect_same_df=seed % 5 > 0,
    )  # fmt: skip
    watched = Watched(chip, _secrets(variant), saved)
    Sequence(watched, random, length).play()
    return watched


@cache
def _secrets(variant: int) -> frozenset[bytes]:
    image = specimen(variant).image
    chip = Chip(image, lambda _: None, CountedEntropy(""))
    others = [chip.image.card_key]
    for aid in (ISD, JPKI):
        statics = static_keys(aid)
        others += [statics.enc, statics.mac, statics.dek]
    return key_windows(specimen(variant).private_keys, others)


class Sequence:
    """One sequence in the making: each move sends one command or a few."""

    def __init__(self, watched: Watched, random: Random, length: int) -> None:
        self.watched = watched
        self.random = random
        self.length = length
        self.damage = random.choice((0.0, 0.1, 0.3, 0.6))

    def play(self) -> None:
        """Until it is long enough or something is wrong."""
        while not self.over:
            self.random.choices(_MOVES, _WEIGHTS)[0](self)

    @property
    def over(self) -> bool:
        """Whether to stop."""
        return len(self.watched.log) >= self.length or bool(self.watched.wrong)

    @property
    def image(self) -> Image:
        """What the card remembers: the fuzzer looks inside to find right PINs."""
        return self.watched.chip.image

    def send(self, command: bytes) -> bytes:
        """One command, damaged now and then; nothing when the sequence is over."""
        if self.over:
            return b"\x6f\x00"
        if self.random.random() < self.damage:
            command = self.damaged(command)
        return self.watched.transmit(command)

    def damaged(self, command: bytes) -> bytes:
        """The command with one thing wrong."""
        random, raw = self.random, bytearray(command)
        kind = random.randrange(6)
        if kind == 0 and raw:
            raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
        elif kind == 1:
            del raw[random.randrange(len(raw) + 1) :]
        elif kind == 2:  # noqa: PLR2004 - kinds of damage, one after the other
            raw += random.randbytes(random.randrange(1, 20))
        elif kind == 3 and len(raw) > 4:  # noqa: PLR2004
            raw[4] = random.randrange(256)
        elif kind == 4 and raw:  # noqa: PLR2004
            raw[random.randrange(min(4, len(raw)))] = random.choice(_P1P2)
        else:
            at = random.randrange(len(raw) + 1)
            raw[at:at] = random.randbytes(random.randrange(1, 4))
        return bytes(raw)

    # ---- moves of anyone ---------------------------------------------------------------------------------------

    def select(self) -> None:
        """An applet, by name or the beginning of it."""
        aid = self.random.choice((*_AIDS, _LIBRARY))
        name = aid[: self.random.randrange(1, len(aid) + 1)] if self.random.random() < 0.1 else aid  # noqa: PLR2004
        self.send(apdu.build(0x00, 0xA4, 0x04, self.random.choice((0x0C, 0x0C, 0x00)), name))

    def select_file(self) -> None:
        """A file, often one that is there."""
        fid = self.random.randrange(_LAST_FID)
        self.send(apdu.build(0x00, 0xA4, 0x02, 0x0C, fid.to_bytes(2, "big")))

    def read(self) -> None:
        """Of a file that is there, or of anything; all lengths."""
        random = self.random
        if random.random() < 0.6:  # noqa: PLR2004
            applet = random.choice(self.image.applets)
            ef = random.choice((*applet.efs, Ef(1, Access())))
            record = ef.records and random.random() < 0.9  # noqa: PLR2004
            self.to(applet.aid)
            for ref in random.sample(ef.read.refs, min(1, len(ef.read.refs))):
                self.send(apdu.build(0x00, 0x20, 0x00, 0x80 | ref, self.value_of(applet.aid, ref)))
            self.send(apdu.build(0x00, 0xA4, 0x02, 0x0C, ef.fid.to_bytes(2, "big")))
            head = (0xB2, 1, random.choice((4, 5))) if record else (0xB0, 0, 0)
            self.send(apdu.build(0x00, *head, b"", random.choice((4, 256, 65536))))
            return
        p1 = random.choice((0x00, 0x01, 0x7F, 0x80 | random.randrange(_LAST_FID)))
        expected = random.choice((1, 4, 255, 256, 256, 65536))
        ins, p1 = random.choice(((0xB0, p1), (0xB2, random.randrange(4))))
        p2 = random.choice((0x00, 0x04, 0x05, random.randrange(256)))
        self.send(apdu.build(0x00, ins, p1, p2, b"", expected))

    def get_data(self) -> None:
        """GET DATA and GET CHALLENGE."""
        tag = self.random.choice((*layout.DATA_OBJECTS, 0x5F51, 0xDF60, 0xDF61, self.random.randrange(0x10000)))
        expected = self.random.choice((8, 256, 65536))
        if self.random.random() < 0.2:  # noqa: PLR2004
            self.send(apdu.build(0x00, 0x84, 0x00, 0x00, b"", expected))
        self.send(apdu.build(0x00, 0xCA, *divmod(tag, 256), b"", expected))

    def verify(self) -> None:
        """A PIN: right, wrong, or only asked for."""
        applet, pin = self.some_pin()
        value = self.random.choice((pin.value, pin.value, b"0000", b"", self.random.randbytes(6)))
        self.to(applet.aid)
        self.send(apdu.build(0x00, 0x20, 0x00, 0x80 | pin.fid, value))

    def change(self) -> None:
        """A PIN's change, allowed or not."""
        applet, pin = self.some_pin()
        digits = f"{self.random.randrange(10000):04}".encode()
        new = self.random.choice((b"WXYZ99", digits, b"5" * 17, b""))
        head = self.random.choice(((0x00, 0x24, 0x01), (0x80, 0x32, 0x00)))
        self.to(applet.aid)
        self.send(apdu.build(0x00, 0x20, 0x00, 0x80 | pin.fid, pin.value))
        self.send(apdu.build(*head, 0x80 | pin.fid, new))

    def sign(self) -> None:
        """Signatures and INTERNAL AUTHENTICATE, in every mode."""
        random = self.random
        data = random.randbytes(random.choice((1, 16, 32, 32, 51, 245, 246)))
        ref = random.choice((0x00, 0x80, 0x93, 0x97, 0x99, 0x9A, 0x9D))
        if random.random() < 0.7:  # noqa: PLR2004
            slot, pin = random.choice(((0x97, layout.AUTHENTICATION_PIN), (0x9A, layout.SIGNATURE_PIN)))
            self.to(JPKI)
            self.send(apdu.build(0x00, 0x20, 0x00, 0x80 | pin, self.value_of(JPKI, pin)))
            ref = slot
        head = random.choice(((0x80, 0x2A, random.randrange(7)), (0x00, 0x88, 0x00)))
        self.send(apdu.build(*head, ref, data, 256))

    def set_pin(self) -> None:
        """SET PIN with data nobody sealed."""
        applet, pin = self.some_pin()
        self.to(applet.aid)
        data = b"\x04" + self.random.randbytes(self.random.choice((64, 64 + 20, 10)))
        self.send(apdu.build(0x80, 0x2C, 0x00, pin.fid, data))

    def secure(self) -> None:
        """A session with the text applet, and commands in it."""
        self.to(TEXT)
        self.send(apdu.build(0x00, 0x20, 0x00, 0x80 | layout.TEXT_PIN, self.value_of(TEXT, layout.TEXT_PIN)))
        seed = self.random.randbytes(32)
        messages = TerminalMessages(seed)
        sealed = _oaep(_session_key(), DELIVERY_HEAD + seed, self.random.randbytes(32))
        delivered = sealed if self.random.random() < 0.7 else self.random.randbytes(256)  # noqa: PLR2004
        self.send(apdu.build(0x80, 0xAE, 0x00, 0x00, delivered))
        for _ in range(self.random.randrange(5)):
            fid = self.random.randrange(1, 9)
            one = self.random.randrange(3)
            if one == 0:
                self.send(messages.verify(layout.TEXT_NUMBER_A, NUMBER_A.encode()))
            elif one == 1:
                self.send(messages.select_ef(fid))
            else:
                self.send(messages.read_binary(self.random.randrange(300), self.random.choice((0, 17))))

    def terminal_key(self) -> None:
        """A terminal's certificate that nobody signed."""
        body = contents.cv_certificate_body(
            contents.key_id("9200073"), contents.key_id("9200074"), b"\x81" + self.random.randbytes(254) + b"\x01"
        )
        self.to(JPKI)
        self.send(bytes.fromhex("00A4020C020016"))
        for command in certificate_commands(contents.cv_certificate(body, self.random.randbytes(256))):
            self.send(command)

    def noise(self) -> None:
        """Bytes."""
        self.watched.transmit(self.random.randbytes(self.random.choice((0, 1, 3, 4, 5, 6, 20, 300))))

    def shaped(self) -> None:
        """A known instruction with parameters that mean something somewhere."""
        random = self.random
        head = (random.choice(_CLASSES), random.choice(_INS), random.choice(_P1P2), random.choice(_P1P2))
        data = random.randbytes(random.choice((0, 0, 1, 2, 4, 8, 16, 32, 64, 256, 600)))
        self.send(apdu.build(*head, data, random.choice((None, 1, 256, 65536))))

    def reset(self) -> None:
        """Power off and on."""
        self.watched.chip.reset()

    # ---- moves of the issuers ----------------------------------------------------------------------------------

    def issuer_write(self) -> None:
        """A channel with the right keys, and issuer commands in it, sensible and not."""
        aid, write_id = self.random.choice((ISD, ISD, JPKI)), self.random.randbytes(16)
        made = [self.issuer_command(aid) for _ in range(self.random.randrange(1, 6))]
        words = self.through_channel(aid, [issuer.begin(aid, write_id), *made])
        accepted = [command for command, word in zip(made, words[2:], strict=False) if word == _OK]
        digest = issuer.running_digest(issuer.start_digest(write_id), accepted)
        end = self.random.choice([issuer.commit(write_id, "fuzz", digest)] * 4 + [issuer.rollback(write_id)])
        self.through_channel(ISD, [issuer.begin(ISD, write_id), end])

    def through_channel(self, aid: bytes, commands: list[IssuerCommand]) -> list[bytes]:
        """Open a channel and send them; the status words, EXTERNAL AUTHENTICATE's first."""
        challenge = self.random.randbytes(8)
        self.to(aid)
        response = self.send(issuer.initialize_update(challenge))
        try:
            channel = host_channel(aid, challenge, response)
        except WarifuError:
            return []
        return [self.send(command)[-2:] for command in channel.script(commands)]

    def issuer_command(self, aid: bytes) -> IssuerCommand:
        """One of them, in this domain."""
        random = self.random
        applet = JPKI if aid == JPKI else random.choice((TEXT, FACE, JUKI, COMMON, ISD, _LIBRARY))
        ref = random.choice((0x11, 0x1B, 0x18, 0x1C, 0x14))
        made: tuple[IssuerCommand, ...] = (
            issuer.put_ef(applet, random.randrange(1, 12), random.randbytes(40), read=Access(free=True))[0],
            issuer.open_pin_window(applet, ref),
            issuer.close_pin_windows(applet),
            issuer.unlock_pin(applet, ref),
            issuer.lock_applet(applet),
            issuer.unlock_applet(applet),
            issuer.set_access(applet, 2, Access(refs=(0x11,))),
            issuer.put_key(applet, 0x19, spare_key(0)),
            issuer.put_key_pair("signature", spare_key(1)),
            issuer.generate_key_pair("authentication"),
            issuer.install_applet(_library()),
            issuer.delete_applet(_LIBRARY),
            issuer.append_particulars("fuzz"),
            issuer.set_life_state(random.choice(("in_use", "suspended", "in_use", "terminated"))),
            issuer.set_verification_number(applet, 0x14, NUMBER_A),
            issuer.set_certificate_availability(signature=True, authentication=False),
            IssuerCommand(aid, random.choice(_INS), random.randrange(3), random.randrange(32), random.randbytes(30)),
        )
        chosen = random.choice(made)
        return IssuerCommand(aid, chosen.ins, chosen.p1, chosen.p2, chosen.data)

    # ---- help --------------------------------------------------------------------------------------------------

    def to(self, aid: bytes) -> None:
        """Make an applet current, undamaged, if it is not."""
        if not self.over:
            self.watched.transmit(apdu.build(0x00, 0xA4, 0x04, 0x0C, aid))

    def some_pin(self) -> tuple[Applet, Pin]:
        """Any PIN of the card."""
        return self.random.choice([(applet, pin) for applet in self.image.applets for pin in applet.pins])

    def value_of(self, aid: bytes, ref: int) -> bytes:
        """A PIN's value now."""
        applet = self.image.applet(aid)
        pin = None if applet is None else applet.pin(ref)
        return b"" if pin is None else pin.value


_MOVES: Final[tuple[Callable[[Sequence], None], ...]] = (
    Sequence.select, Sequence.select_file, Sequence.read, Sequence.get_data, Sequence.verify, Sequence.change,
    Sequence.sign, Sequence.set_pin, Sequence.secure, Sequence.terminal_key, Sequence.noise, Sequence.shaped,
    Sequence.reset, Sequence.issuer_write,
)  # fmt: skip
_WEIGHTS: Final = (10, 10, 18, 5, 8, 3, 4, 1, 2, 1, 6, 16, 1, 4)


@cache
def _session_key() -> int:
    """The modulus session keys are sent under."""
    return int.from_bytes(modulus_of(specimen().private_keys[5]), "big")


def _oaep(modulus: int, message: bytes, seed: bytes) -> bytes:
    """RSAES-OAEP with SHA-256 (RFC 8017, 7.1.1) and a given seed: the library draws one, and no seed would replay."""
    block = sha256(b"").digest() + bytes(256 - 2 * 32 - 2 - len(message)) + b"\x01" + message
    masked = _xor(block, _mgf1(seed, len(block)))
    whole = b"\x00" + _xor(seed, _mgf1(masked, len(seed))) + masked
    return pow(int.from_bytes(whole, "big"), EXPONENT, modulus).to_bytes(256, "big")


def _mgf1(seed: bytes, count: int) -> bytes:
    return b"".join(sha256(seed + at.to_bytes(4, "big")).digest() for at in range(count // 32 + 1))[:count]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


@cache
def _library() -> Applet:
    """An applet for the free area."""
    efs = (Ef(1, Access(free=True)), Ef(2, Access(refs=(0x11,)), records=True))
    return Applet(_LIBRARY, ISD, efs=efs, pins=(Pin(0x11, "four_digits", 5, "change_key"),))
