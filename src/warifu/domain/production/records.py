"""What the factory stores."""

from typing import ClassVar

from warifu.ports.store import Record


class ProducedCard(Record, frozen=True, kw_only=True):
    """A card that was made."""

    TABLE: ClassVar[str] = "produced_card"
    KEY: ClassVar[tuple[str, ...]] = ("card_id",)
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("state",),)

    card_id: str
    municipality: str
    state: str
    """untold (the centre does not know yet), made or shipped."""
    batch_id: str | None = None
    changed_ms: int


class Batch(Record, frozen=True, kw_only=True):
    """Cards that leave together."""

    TABLE: ClassVar[str] = "batch"
    KEY: ClassVar[tuple[str, ...]] = ("batch_id",)
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("municipality",),)

    batch_id: str
    municipality: str
    card_ids: tuple[str, ...]
    shipped_ms: int
