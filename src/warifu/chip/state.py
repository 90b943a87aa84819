"""A powered chip's state: the durable image, and what a reset forgets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import rsa

from warifu.chip import apdu, layout
from warifu.chip.apdu import StatusError
from warifu.chip.image import Applet, Change, Ef, Image, encode
from warifu.chip.keys import load_private_key
from warifu.chip.scp03 import FIRST_CHAINING_VALUE, SessionKeys


class RandomBytes(Protocol):
    """Where the chip's randomness comes from."""

    def random_bytes(self, count: int) -> bytes:
        """``count`` unpredictable bytes."""


@dataclass
class Channel:
    """The chip's end of one SCP03 channel."""

    domain: bytes
    keys: SessionKeys
    host_challenge: bytes
    card_challenge: bytes
    chaining: bytes = FIRST_CHAINING_VALUE
    counter: int = 0


@dataclass
class Messages:
    """Secure messaging of the text applet: the key (16) and the number of the next command.

    ``broken``: a command was not as it must be, the key is gone, and every further one is refused.
    """

    key: bytes
    counter: int = 1
    broken: bool = False


@dataclass(frozen=True)
class Terminal:
    """A terminal's public key that the chip found certified: the id (16) in its certificate, and the key."""

    key_id: bytes
    key: rsa.RSAPublicKey


@dataclass
class Staging:
    """Changes of one card write, held until COMMIT. ``scratch`` is the image with all of them."""

    write_id: bytes
    digest: bytes
    scratch: Image
    changes: list[Change] = field(default_factory=list)
    size: int = 0


@dataclass
class Volatile:
    """What a reset forgets. ``moved`` tells that a SELECT by name happened since the reset.

    ``channel`` is open; ``pending`` are those, by domain, that wait for EXTERNAL AUTHENTICATE. ``offered`` is the body
    of a terminal's certificate whose signature is still to come.
    """

    aid: bytes = layout.ISD
    fid: int | None = None
    moved: bool = False
    verified: set[int] = field(default_factory=set)
    channel: Channel | None = None
    pending: dict[bytes, Channel] = field(default_factory=dict)
    staging: Staging | None = None
    messages: Messages | None = None
    offered: bytes = b""
    terminal: Terminal | None = None


@dataclass
class ChipState:
    """What every command works on."""

    image: Image
    save: Callable[[bytes], None]
    entropy: RandomBytes
    make_key: Callable[[], bytes]
    clear_security_on_reselect_same_df: bool
    volatile: Volatile = field(default_factory=Volatile)
    _rsa: dict[bytes, rsa.RSAPrivateKey] = field(default_factory=dict)

    def keep(self, image: Image) -> None:
        """Make ``image`` durable, then visible."""
        if image != self.image:
            self.save(encode(image))
            self.image = image

    @property
    def applet(self) -> Applet:
        """The current applet."""
        applet = self.image.applet(self.volatile.aid)
        if applet is None:
            raise StatusError(apdu.NOT_FOUND)
        return applet

    def current_ef(self) -> Ef:
        """The current EF. 6986 when none is selected, 6981 when a PIN or key is."""
        if self.volatile.fid is None:
            raise StatusError(apdu.NO_CURRENT_EF)
        ef = self.applet.ef(self.volatile.fid)
        if ef is None:
            raise StatusError(apdu.STRUCTURE_CONFLICT)
        return ef

    def reference(self, p2: int) -> int:
        """The file id a P2 of VERIFY and its kin names: 80 the current one, 80 + n the short identifier n."""
        if p2 & 0xE0 != 0x80:
            raise StatusError(apdu.WRONG_P1P2)
        fid = p2 & 0x1F or self.volatile.fid
        if fid is None:
            raise StatusError(apdu.NO_CURRENT_EF)
        return fid

    def alive(self) -> None:
        """6985 on a terminated card."""
        if self.image.life == "terminated":
            raise StatusError(apdu.CONDITIONS)

    def rsa_key(self, pkcs8: bytes) -> rsa.RSAPrivateKey:
        """A parsed private key, remembered while the chip is powered."""
        if pkcs8 not in self._rsa:
            self._rsa[pkcs8] = load_private_key(pkcs8)
        return self._rsa[pkcs8]

    def reset(self) -> None:
        """Forget everything that is not durable."""
        self.volatile = Volatile()
