"""The chip's numbers and the contract's names for the same things."""

from collections.abc import Iterable
from typing import Final

from warifu.chip import layout
from warifu.chip.client import CardStatus
from warifu.contract.values import ChipStatus, PinName
from warifu.kernel.ids import ulid_text

PIN_PLACES: Final[dict[PinName, tuple[bytes, int]]] = {
    "signature": (layout.JPKI, layout.SIGNATURE_PIN),
    "authentication": (layout.JPKI, layout.AUTHENTICATION_PIN),
    "text": (layout.TEXT, layout.TEXT_PIN),
    "juki": (layout.JUKI, layout.JUKI_PIN),
}
"""Applet and reference of each of the holder's PINs (card.md 1.3)."""

_NAMES: Final = {place: name for name, place in PIN_PLACES.items()}


def chip_status(status: CardStatus) -> ChipStatus:
    """What the chip says, in the contract's words."""
    last = status.last_write
    return ChipStatus(
        card_id=status.card_id,
        life_state=status.life,
        write_id=ulid_text(last.write_id) if last is not None and last.committed else None,
        write_digest=last.digest if last is not None else b"",
        write_step=last.step if last is not None else "",
        open_windows=_names((window.aid, window.ref) for window in status.windows),
        pins_set=_names((pin.aid, pin.ref) for pin in status.pins if pin.is_set),
        tries_left={
            str(_NAMES[pin.aid, pin.ref]): pin.tries_left for pin in status.pins if (pin.aid, pin.ref) in _NAMES
        },
    )


def _names(places: Iterable[tuple[bytes, int]]) -> tuple[PinName, ...]:
    found = set(places)
    return tuple(name for name, place in PIN_PLACES.items() if place in found)
