"""What the registry and the number assignment store."""

import datetime
from typing import ClassVar

from warifu.contract.values import Person
from warifu.ports.store import Record


class Resident(Record, frozen=True, kw_only=True):
    """A resident's record (住民票の本人確認情報)."""

    TABLE: ClassVar[str] = "resident"
    KEY: ClassVar[tuple[str, ...]] = ("resident_id",)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("resident_code",),)
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("municipality",),
        ("municipality", "name"),
        ("municipality", "kana"),
        ("municipality", "birth_date"),
    )

    resident_id: str
    resident_code: str
    name: str
    kana: str
    former_surname: str
    birth_date: datetime.date
    sex: str
    address: str
    municipality: str
    stay_until: datetime.date | None
    registered: bool
    changed_ms: int

    def __repr__(self) -> str:
        """Without personal data."""
        return f"Resident({self.resident_id})"

    @classmethod
    def of(
        cls, resident_id: str, resident_code: str, person: Person, now_ms: int, *, registered: bool = True
    ) -> "Resident":
        """The record of a person, not yet in any store."""
        return cls(
            resident_id=resident_id,
            resident_code=resident_code,
            name=person.name,
            kana=person.kana,
            former_surname=person.former_surname,
            birth_date=person.birth_date,
            sex=person.sex,
            address=person.address,
            municipality=person.municipality,
            stay_until=person.stay_until,
            registered=registered,
            changed_ms=now_ms,
        )

    def person(self) -> Person:
        """As the contract carries it."""
        return Person(
            name=self.name,
            kana=self.kana,
            former_surname=self.former_surname,
            birth_date=self.birth_date,
            sex=self.sex,  # type: ignore[arg-type]  # written from a Person
            address=self.address,
            municipality=self.municipality,
            stay_until=self.stay_until,
        )


class AssignedNumber(Record, frozen=True, kw_only=True):
    """An individual number: encrypted under an HSM key, found by a blind index."""

    TABLE: ClassVar[str] = "assigned_number"
    KEY: ClassVar[tuple[str, ...]] = ("resident_id",)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("blind_index",),)

    resident_id: str
    encrypted: bytes
    """AES-256-GCM by the HSM, context = resident id."""
    blind_index: bytes
    """CMAC by the HSM over the number: equal numbers collide, nothing else is told."""
    assigned_ms: int
