"""The chip's numbers and the contract's names for the same things."""

from collections.abc import Iterable, Mapping
from typing import Final

from warifu.chip import layout
from warifu.chip.client import CardStatus
from warifu.contract.center import ChipPublicKeys
from warifu.contract.values import ChipStatus, PinName
from warifu.kernel.ids import ulid_text

Place = tuple[bytes, int]
"""Applet and PIN reference."""

PIN_PLACES: Final[dict[PinName, tuple[Place, ...]]] = {
    "signature": ((layout.JPKI, layout.SIGNATURE_PIN),),
    "authentication": ((layout.JPKI, layout.AUTHENTICATION_PIN),),
    "text": ((layout.TEXT, layout.TEXT_PIN),),
    "juki": ((layout.JUKI, layout.JUKI_PIN), (layout.COMMON, layout.COMMON_PIN)),
}
"""Where each of the holder's PINs stands on the chip. The juki PIN stands in two applets, each set on its own."""


def chip_status(status: CardStatus) -> ChipStatus:
    """What the chip says, in the contract's words."""
    last = status.last_write
    set_places = {(pin.aid, pin.ref) for pin in status.pins if pin.is_set}
    tries = {(pin.aid, pin.ref): pin.tries_left for pin in status.pins}
    return ChipStatus(
        card_id=status.card_id,
        life_state=status.life,
        write_id=ulid_text(last.write_id) if last is not None and last.committed else None,
        write_digest=last.digest if last is not None else b"",
        write_step=last.step if last is not None else "",
        open_windows=_names((window.aid, window.ref) for window in status.windows),
        pins_set=tuple(name for name, places in PIN_PLACES.items() if set(places) <= set_places),
        tries_left={str(name): min(tries[place] for place in places) for name, places in PIN_PLACES.items()},
    )


def own_keys(moduli: Mapping[Place, bytes]) -> ChipPublicKeys:
    """The chip's own keys, as the factory tells the centre of them."""
    return ChipPublicKeys(
        internal=moduli.get((layout.COMMON, layout.COMMON_INTERNAL_KEY), b""),
        text=moduli.get((layout.TEXT, layout.TEXT_DEFAULT_KEY), b""),
        face=moduli.get((layout.FACE, layout.FACE_DEFAULT_KEY), b""),
    )


def _names(places: Iterable[tuple[bytes, int]]) -> tuple[PinName, ...]:
    found = set(places)
    return tuple(name for name, at in PIN_PLACES.items() if found.intersection(at))
