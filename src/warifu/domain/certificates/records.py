"""What JPKI stores."""

import datetime
from typing import ClassVar

from warifu.ports.store import Record


class CaGeneration(Record, frozen=True, kw_only=True):
    """One generation of a certification authority's key."""

    TABLE: ClassVar[str] = "ca_generation"
    KEY: ClassVar[tuple[str, ...]] = ("ca", "generation")

    ca: str
    """signature or authentication."""
    generation: int
    key_label: str
    public_key: bytes
    der: bytes
    """The self-signed certificate."""
    active_from_ms: int = 0
    """From when on it issues; before, and after a newer one has taken over, it is verified, listed and answered for."""


class KeyHolder(Record, frozen=True, kw_only=True):
    """A person who keeps one half of the control over the authorities' keys."""

    TABLE: ClassVar[str] = "key_holder"
    KEY: ClassVar[tuple[str, ...]] = ("holder",)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("public_key",),)

    holder: str
    public_key: bytes
    """Ed25519, raw."""
    enrolled_ms: int


class KeyCeremony(Record, frozen=True, kw_only=True):
    """The minutes of a key ceremony: who approved which new generation, signed with the generation's own key."""

    TABLE: ClassVar[str] = "key_ceremony"
    KEY: ClassVar[tuple[str, ...]] = ("ca", "generation")

    ca: str
    generation: int
    minutes: bytes
    """Text in UTF-8."""
    signature: bytes
    """Of the minutes, by the new key: RSASSA-PKCS1-v1_5 with SHA-256."""
    made_ms: int


class StoredKeyPair(Record, frozen=True, kw_only=True):
    """A subscriber's key pair: made ahead, reserved for one certificate, put on one chip, destroyed."""

    TABLE: ClassVar[str] = "key_pair"
    KEY: ClassVar[tuple[str, ...]] = ("key_pair_id",)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("public_key",), ("reserved_for",))
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("state",),)

    key_pair_id: str
    public_key: bytes
    wrapped: bytes | None
    """PKCS#8 under an HSM key, context = key pair id; None once destroyed."""
    state: str
    """free, reserved or destroyed; or stocked: part of a ``KeyBlock``, or given out with one."""
    reserved_for: str | None = None
    """``<ca>:<serial>``: unique, so that no two certificates share a key pair and none uses two."""
    changed_ms: int


class KeyBlock(Record, frozen=True, kw_only=True):
    """Key pairs of the stock that are given out together, for certificates issued in bulk; gone once given out."""

    TABLE: ClassVar[str] = "key_block"
    KEY: ClassVar[tuple[str, ...]] = ("block_id",)

    block_id: str
    pairs: bytes
    """MessagePack: (key pair id, public key) of each. The wrapped private keys are in ``key_pair`` alone."""


class KeyUse(Record, frozen=True, kw_only=True):
    """The consumption log: which key pair was used for which certificate. Lines are added, never changed.

    Both sides are unique, so the database itself refuses a second use. ``warifu pki check`` holds it to the register.
    """

    TABLE: ClassVar[str] = "key_use"
    KEY: ClassVar[tuple[str, ...]] = ("key_pair_id",)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("ca", "serial"),)

    key_pair_id: str
    ca: str
    serial: int
    used_ms: int


class IssueBlock(Record, frozen=True, kw_only=True):
    """A part of a bulk issue: what one request ordered, and how far it is."""

    TABLE: ClassVar[str] = "issue_block"
    KEY: ClassVar[tuple[str, ...]] = ("batch_id", "position")

    batch_id: str
    position: int
    digest: bytes
    """SHA-256 of the orders: the same place never stands for others."""
    state: str
    """intent: certificates are recorded, to be signed; issued."""
    serials: bytes
    """MessagePack: (authority, serial) of each certificate."""
    refused: bytes
    """MessagePack: (card id, error code) of each order that got none."""
    unfinished: bytes = b"\x90"
    """MessagePack: the cards, not refused, for which not all was issued here: something stood, or ended unsigned."""
    changed_ms: int


class Certificate(Record, frozen=True, kw_only=True):
    """A certificate, from the intent to issue it on."""

    TABLE: ClassVar[str] = "certificate"
    KEY: ClassVar[tuple[str, ...]] = ("ca", "serial")
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("key_pair_id",), ("card_id", "ca", "write_id"))
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("card_id",),
        ("resident_id",),
        ("municipality",),
        ("name_digest",),
        ("municipality", "name_digest"),
    )
    FILL: ClassVar[int] = 45

    ca: str
    serial: int
    generation: int
    card_id: str
    resident_id: str
    municipality: str
    """Whose distribution point it names."""
    key_pair_id: str
    state: str
    """intent, issued, valid or revoked; or abandoned: an intent that ended unsigned, and never is a certificate."""
    write_id: str = ""
    """The card write that puts it onto the chip at a counter; "" for those of the factory. An abandoned one whose place
    another may take has a mark of its own."""
    resident_version: int = 0
    """The version of the registry's record that it was made from; 0 when that was not told."""
    opened_ms: int = 0
    """When the counter's operation was opened that it was issued for; 0 for those of the factory."""
    not_after: datetime.date
    tbs: bytes
    """What is or was to be signed: recorded before signing."""
    der: bytes = b""
    reason: str = ""
    revoked_ms: int | None = None
    name_digest: bytes = b""
    """Of the holder's name, keyed (``searching``); empty in rows from before there was a search by name."""
    changed_ms: int

    def __repr__(self) -> str:
        """Without the certificate, which names its holder."""
        return f"Certificate({self.ca} {self.serial} {self.state})"


class Revocation(Record, frozen=True, kw_only=True):
    """A revocation, with its line of the lists encoded once."""

    TABLE: ClassVar[str] = "revocation"
    KEY: ClassVar[tuple[str, ...]] = ("ca", "serial")
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (
        # All that a list needs stands in the index: a million entries are joined without a look at the table.
        ("ca", "generation", "municipality", "serial", "not_after", "entry"),
    )

    ca: str
    serial: int
    generation: int
    """Of the CA's key that signed the certificate: the one that signs the list, too."""
    municipality: str
    reason: str
    revoked_ms: int
    not_after: datetime.date
    entry: bytes


class ListRevision(Record, frozen=True, kw_only=True):
    """Counts (by its version) the revocations of one CA at one municipality: tells whether a list is current."""

    TABLE: ClassVar[str] = "list_revision"
    KEY: ClassVar[tuple[str, ...]] = ("ca", "municipality")

    ca: str
    municipality: str
    changed_ms: int


class PublishedList(Record, frozen=True, kw_only=True):
    """The newest list of a CA's generation: full (municipality "") or of one municipality."""

    TABLE: ClassVar[str] = "published_list"
    KEY: ClassVar[tuple[str, ...]] = ("ca", "generation", "municipality")

    ca: str
    generation: int
    municipality: str
    number: int
    basis: str
    """Which revisions it holds; another basis means that it is not current."""
    this_update_ms: int
    name: str
    """On the shelf."""


class AppletWrite(Record, frozen=True, kw_only=True):
    """JPKI's part of a card write."""

    TABLE: ClassVar[str] = "applet_write"
    KEY: ClassVar[tuple[str, ...]] = ("write_id",)
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("card_id",),)

    write_id: str
    card_id: str
    purpose: str
    state: str
    """open, finished or undone."""
    changed_ms: int


class KnownResident(Record, frozen=True, kw_only=True):
    """How far JPKI follows a resident's record: guards what is being issued against changes told meanwhile."""

    TABLE: ClassVar[str] = "known_resident"
    KEY: ClassVar[tuple[str, ...]] = ("resident_id",)

    resident_id: str
    resident_version: int
    """The newest version that a change told of; 0 when none did."""
    registered: bool = True
    """False once the resident has left the register."""
    changed_ms: int
