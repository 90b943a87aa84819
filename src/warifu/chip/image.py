"""What a chip keeps through a power cut: one frozen value, and its bytes.

The bytes are ``WRFC`` | format version (2) | SHA-256 of the rest (32) | MessagePack. They hold private keys and PINs:
whoever stores them guards them like the plastic.
"""

import hashlib
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from msgspec import Struct

from warifu.chip.errors import ImageDamaged
from warifu.chip.scp03 import StaticKeys
from warifu.kernel.decoding import NOT_DECODED

LifeState = Literal["made", "set_up", "in_use", "suspended", "terminated"]
PinKind = Literal["four_digits", "signature_password", "birth_digits", "number_a", "number_b"]
PinChange = Literal["reference_data", "change_key", "never"]
KeyUse = Literal["signature", "default", "internal", "session", "terminal_ca", "reserved"]
Interface = Literal["contact", "contactless"]

_MAGIC: Final = b"WRFC"
_VERSION: Final = 1
_HEAD_LENGTH: Final = len(_MAGIC) + 2 + hashlib.sha256().digest_size


class Access(Struct, frozen=True):
    """Who may read: anyone when ``free``; else whoever verified one of ``refs``; with neither, nobody."""

    refs: tuple[int, ...] = ()
    free: bool = False


class Ef(Struct, frozen=True):
    """An elementary file. ``records``: content is a row of (tag, length, value), one byte each for tag and length.

    ``size``: bytes the file has at least, filled up with zeros when something is in it.
    """

    fid: int
    read: Access
    content: bytes = b""
    records: bool = False
    size: int = 0


class Pin(Struct, frozen=True):
    """A PIN or verification number. Not set: ``value`` empty. Blocked: ``tries_left`` 0.

    ``window`` is the write_id of the card write that opened the one-use window, or empty.
    """

    fid: int
    kind: PinKind
    tries_max: int
    change: PinChange = "never"
    value: bytes = b""
    tries_left: int = 0
    window: bytes = b""
    window_unblocks: bool = False

    def __repr__(self) -> str:
        """Without the value."""
        return f"Pin({self.fid:04X}, tries_left={self.tries_left})"


class Key(Struct, frozen=True):
    """An internal EF: a slot for an RSA-2048 key, empty when there is none.

    ``private_key`` is PKCS#8 DER, used after ``pin`` was verified (0: no PIN is needed). ``use``: ``signature`` by its
    number, ``default`` by P2 00, ``internal`` authentication, receiving a ``session`` key, ``terminal_ca`` (only then
    ``public_key``: key id (16) and 90/91 objects), or ``reserved``: known to be there on real cards and not what for.
    """

    fid: int
    pin: int = 0
    private_key: bytes = b""
    use: KeyUse = "signature"
    public_key: bytes = b""

    def __repr__(self) -> str:
        """Without the key."""
        return f"Key({self.fid:04X})"


class Applet(Struct, frozen=True):
    """An on-card application; ``domain`` is the AID of the security domain whose owner writes it.

    ``locked`` (LOCK DF): it can be selected and written by its owner, and nothing else.
    """

    aid: bytes
    domain: bytes
    efs: tuple[Ef, ...] = ()
    pins: tuple[Pin, ...] = ()
    keys: tuple[Key, ...] = ()
    locked: bool = False

    def has(self, fid: int) -> bool:
        """Whether an EF, PIN or key has this file id."""
        return self.ef(fid) is not None or self.pin(fid) is not None or self.key(fid) is not None

    def ef(self, fid: int) -> Ef | None:
        """The EF, or None."""
        return next((ef for ef in self.efs if ef.fid == fid), None)

    def pin(self, fid: int) -> Pin | None:
        """The PIN, or None."""
        return next((pin for pin in self.pins if pin.fid == fid), None)

    def key(self, fid: int) -> Key | None:
        """The key slot, or None."""
        return next((key for key in self.keys if key.fid == fid), None)

    def with_ef(self, new: Ef) -> "Applet":
        """The same with ``new`` in place of its namesake, or added."""
        rest = tuple(ef for ef in self.efs if ef.fid != new.fid)
        return msgspec.structs.replace(self, efs=(*rest, new))

    def with_pin(self, new: Pin) -> "Applet":
        """The same with ``new`` in place of its namesake."""
        return msgspec.structs.replace(self, pins=tuple(new if pin.fid == new.fid else pin for pin in self.pins))

    def with_key(self, new: Key) -> "Applet":
        """The same with ``new`` in place of its namesake."""
        return msgspec.structs.replace(self, keys=tuple(new if key.fid == new.fid else key for key in self.keys))


class Domain(Struct, frozen=True):
    """A security domain: static SCP03 keys and the number of channels opened so far (three bytes)."""

    aid: bytes
    keys: StaticKeys
    sequence: int = 0


class LastWrite(Struct, frozen=True):
    """How the newest card write ended: committed, or rolled back. ``step`` is the owner's name for it."""

    write_id: bytes
    digest: bytes
    step: str
    committed: bool


class Image(Struct, frozen=True):
    """Everything durable. ``card_key`` is a P-256 private scalar (32).

    ``contact_atr`` is what the contacts answer to reset; over ``interface`` contactless the reader makes up another
    one. ``clear_on_reselect``: SELECT of the current applet forgets its verified PINs, as on real cards.
    """

    card_id: str
    life: LifeState
    card_key: bytes
    applets: tuple[Applet, ...]
    domains: tuple[Domain, ...]
    last_write: LastWrite | None = None
    interface: Interface = "contact"
    contact_atr: bytes = bytes.fromhex("3BE000FF8131FE4514")
    clear_on_reselect: bool = True

    def __repr__(self) -> str:
        """Without keys and contents."""
        return f"Image({self.card_id}, {self.life})"

    def applet(self, aid: bytes) -> Applet | None:
        """The applet with exactly this AID, or None."""
        return next((applet for applet in self.applets if applet.aid == aid), None)

    def domain(self, aid: bytes) -> Domain | None:
        """The security domain with exactly this AID, or None."""
        return next((domain for domain in self.domains if domain.aid == aid), None)

    def with_applet(self, new: Applet) -> "Image":
        """The same with ``new`` in place of its namesake."""
        return msgspec.structs.replace(self, applets=tuple(new if old.aid == new.aid else old for old in self.applets))

    def with_new_applet(self, new: Applet, domain: Domain | None) -> "Image":
        """The same with one applet more, and its own security domain when it has one."""
        domains = self.domains if domain is None else (*self.domains, domain)
        return msgspec.structs.replace(self, applets=(*self.applets, new), domains=domains)

    def without_applet(self, aid: bytes) -> "Image":
        """The same without this applet and the security domain of its name."""
        applets = tuple(applet for applet in self.applets if applet.aid != aid)
        domains = tuple(domain for domain in self.domains if domain.aid != aid)
        return msgspec.structs.replace(self, applets=applets, domains=domains)

    def with_domain(self, new: Domain) -> "Image":
        """The same with ``new`` in place of its namesake."""
        return msgspec.structs.replace(self, domains=tuple(new if old.aid == new.aid else old for old in self.domains))


Change = Callable[[Image], Image]
"""One staged mutation; raises ``StatusError`` when the image does not allow it."""


def encode(image: Image) -> bytes:
    """The image as bytes; ``decode`` is the inverse."""
    body = msgspec.msgpack.encode(image)
    return _MAGIC + _VERSION.to_bytes(2, "big") + hashlib.sha256(body).digest() + body


def decode(raw: bytes) -> Image:
    """The image these bytes hold.

    Raises:
        ImageDamaged: not an image, another format version, or not whole.
    """
    head, body = raw[:_HEAD_LENGTH], raw[_HEAD_LENGTH:]
    if head[:6] != _MAGIC + _VERSION.to_bytes(2, "big"):
        raise ImageDamaged("not a card image of this version")
    if head[6:] != hashlib.sha256(body).digest():
        raise ImageDamaged("checksum differs")
    try:
        return msgspec.msgpack.decode(body, type=Image)
    except NOT_DECODED as error:
        raise ImageDamaged("content has not the form of an image") from error
