"""What the test CA remembers: a JSON file, replaced whole, changed only under its lock."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from warifu.adapters.hsm.device import exclusive
from warifu.contract.values import CertificateKind
from warifu.domain.pki.profile import FIRST_SERIAL
from warifu.domain.pki.revocation import Reason
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Malformed

_FILE: Final = "register.json"
_LOCK: Final = "register.lock"


class Issued(Struct, frozen=True, kw_only=True):
    """A certificate that was issued, and whether it was revoked."""

    ca: CertificateKind
    serial: int
    card_id: str
    persona: str
    municipality: str
    not_after: datetime.date
    der: bytes
    revoked_ms: int | None = None
    reason: Reason | None = None

    def __repr__(self) -> str:
        """Without the certificate, which names its holder."""
        return f"Issued({self.ca} {self.serial})"


class Register(Struct, frozen=True, kw_only=True):
    """Everything: the roots, what was issued, and the counters that never go back."""

    roots: dict[CertificateKind, bytes] = {}
    responders: dict[CertificateKind, bytes] = {}
    next_serial: dict[CertificateKind, int] = {}
    list_number: int = 0
    issued: tuple[Issued, ...] = ()

    def of_card(self, card_id: str) -> tuple[Issued, ...]:
        """A card's certificates."""
        return tuple(each for each in self.issued if each.card_id == card_id)

    def find(self, ca: CertificateKind, serial: int) -> Issued | None:
        """One certificate."""
        return next((each for each in self.issued if (each.ca, each.serial) == (ca, serial)), None)

    def took_serial(self, ca: CertificateKind) -> tuple[int, "Register"]:
        """A serial that this CA never gave, and the register after that."""
        serial = self.next_serial.get(ca, FIRST_SERIAL)
        return serial, msgspec.structs.replace(self, next_serial=self.next_serial | {ca: serial + 1})


class RegisterFile:
    """The register of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> Register:
        """As it stands; an empty one when there is none yet. ``Malformed`` when the file is damaged."""
        try:
            content = (self._folder / _FILE).read_bytes()
        except FileNotFoundError:
            return Register()
        try:
            return msgspec.json.decode(content, type=Register)
        except NOT_DECODED as error:
            raise Malformed(f"{self._folder / _FILE} is damaged") from error

    def save(self, register: Register) -> None:
        """Replace it, so that a crash leaves the old one or the new one. Only inside ``locked``."""
        fresh = self._folder / f"{_FILE}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(register))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._folder / _FILE)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes it meanwhile."""
        with exclusive(self._folder / _LOCK):
            yield
