"""Rows and chips as a history: what they contradict, the checker says."""

from typing import Any

import msgspec

from warifu.adapters.reader.memory import CardBox
from warifu.chip.image import LastWrite, decode, encode
from warifu.kernel.ids import ulid_bytes
from warifu.lab import checking
from warifu.lab.history import Event
from warifu.lab.load.records import _applet, _card, _effect, _operation, _write, chips
from warifu.lab.simulation.specimen import CARD_ID, specimen

WRITE, OTHER = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01BX5ZZKBKACTAV9WEVGEMMVRZ"
OPERATION = "01BX5ZZKBKACTAV9WEVGEMMVS0"
DIGEST = bytes(range(32))


def box(write_id: str = WRITE, digest: bytes = DIGEST) -> CardBox:
    """A card in use whose last write is this one."""
    image = decode(specimen().image)
    last = LastWrite(ulid_bytes(write_id), digest, "activate", committed=True)
    found = CardBox()
    found.images[CARD_ID] = encode(msgspec.structs.replace(image, last_write=last))
    return found


def rows(**changes: Any) -> list[Event]:
    """A delivery as centre and JPKI have it in the end."""
    card = {"card_id": CARD_ID, "write_id": WRITE, "state": "in_use"}
    operation = {"operation_id": OPERATION, "card_id": CARD_ID, "state": "closed", "kind": "delivery"}
    write = {
        "operation_id": OPERATION, "write_id": WRITE, "card_id": CARD_ID, "state": "finished", "digest": DIGEST,
        "step_name": "activate",
    }  # fmt: skip
    applet = {"write_id": WRITE, "card_id": CARD_ID, "state": "finished", "purpose": "enable"}
    effect = {"node": "center", "operation_id": OPERATION, "step": "lab:open", "at_ms": 1}
    made = ((_effect, effect), (_card, card), (_operation, operation), (_write, write), (_applet, applet))
    return [make(row | changes.get(make.__name__.strip("_"), {})) for make, row in made]


def promises(history: list[Event]) -> set[str]:
    return {violation.promise for violation in checking.check(history)}


def test_rows_and_chip_that_agree_are_found_in_order() -> None:
    assert promises([*rows(), *chips(box(), [CARD_ID])]) == set()


def test_a_chip_with_another_write_is_found() -> None:
    assert checking.CHIP_EQUALS_RECORD in promises([*rows(), *chips(box(OTHER), [CARD_ID])])


def test_a_chip_with_another_script_of_the_same_write_is_found() -> None:
    assert checking.CHIP_EQUALS_RECORD in promises([*rows(), *chips(box(digest=bytes([1]) * 32), [CARD_ID])])


def test_a_write_that_is_not_settled_is_found_at_centre_and_at_jpki() -> None:
    assert checking.SETTLED in promises(rows(write={"state": "intent"}))
    assert checking.SETTLED in promises(rows(applet={"state": "open"}))


def test_an_effect_that_happened_twice_is_found() -> None:
    assert promises([*rows(), rows()[0]]) == {checking.NONE_TWICE}


def test_an_answer_without_its_effect_is_found() -> None:
    asked = Event(
        at_ms=1, kind="invoke", node="terminal", operation_id=OPERATION, step="lab:confirm", name="center.confirm"
    )
    told = [asked, msgspec.structs.replace(asked, at_ms=2, kind="answer", outcome="ok")]
    assert checking.NOTHING_LOST in promises([*told, *rows()])
