"""Plans: which steps each operation has, and in which states of the card it may be opened (card.md 3.3)."""

from typing import Final, get_args

from warifu.contract.authority import JpkiPurpose
from warifu.contract.center import PlannedStep
from warifu.contract.values import CardState, ChipState, OperationKind, PinName

ALL_PINS: Final[tuple[PinName, ...]] = get_args(PinName)
JPKI_PINS: Final[frozenset[PinName]] = frozenset({"signature", "authentication"})

JPKI_PURPOSES: Final[dict[str, JpkiPurpose]] = {
    "set_up": "permit",
    "open_windows": "open_windows",
    "activate": "enable",
    "continue": "replace_signature",
    "update": "replace_signature",
    "renew": "replace_both",
    "resume": "replace_both",
    "terminate": "disable",
}
"""What each card write asks of JPKI's domain."""

STATES: Final[dict[OperationKind, frozenset[CardState]]] = {
    "setup": frozenset({"received"}),
    "delivery": frozenset({"set_up"}),
    "continuation": frozenset({"in_use"}),
    "update": frozenset({"in_use"}),
    "pin_reset": frozenset({"in_use"}),
    "certificate_renewal": frozenset({"in_use"}),
    "resumption": frozenset({"suspended"}),
    "abolition": frozenset({"received", "set_up", "in_use", "suspended", "abolished"}),
    # a card whose record has ended (death, a reported loss) may still need its chip ended
}
"""Where each operation may start."""

STATE_AFTER: Final[dict[str, CardState]] = {
    "set_up": "set_up",
    "activate": "in_use",
    "resume": "in_use",
    "terminate": "abolished",
}
"""What a card write makes of the record's state; others leave it."""

CHIP_STATE_AFTER: Final[dict[str, ChipState]] = {
    "set_up": "set_up",
    "activate": "in_use",
    "resume": "in_use",
    "terminate": "terminated",
}
"""What the same card write makes of the chip's life state."""


def plan(kind: OperationKind, pins: tuple[PinName, ...]) -> tuple[PlannedStep, ...]:
    """The steps of an operation.

    Args:
        kind: which operation.
        pins: those that are to be set anew (pin_reset), otherwise all that this card has.
    """
    windows = _write("open_windows", with_jpki=bool(JPKI_PINS.intersection(pins)))
    enter = PlannedStep(name="enter_pins", action="set_pins", pins=pins)
    prove = PlannedStep(name="prove_holder", action="check_pin", pins=("juki",))
    plans: dict[OperationKind, tuple[PlannedStep, ...]] = {
        "setup": (_write("set_up"),),
        "delivery": (windows, enter, _write("activate")),
        "pin_reset": (windows, enter),
        "continuation": (prove, _write("continue", with_jpki="signature" in pins)),
        "update": (prove, _write("update", with_jpki="signature" in pins)),
        "certificate_renewal": (prove, _write("renew")),
        "resumption": (prove, _write("resume")),
        "abolition": (_write("terminate"),),
    }
    return plans[kind]


def next_step(steps: tuple[PlannedStep, ...], writes_done: int, open_windows: tuple[PinName, ...]) -> int:
    """Index of the step that comes next; ``len(steps)`` when all are done.

    Writes are counted by the record; a set_pins step is done when the chip has none of its windows open; a check_pin
    step is between resident and chip, and is done again whenever what follows it is not.
    """
    writes = 0
    check = -1
    for index, step in enumerate(steps):
        if step.action == "check_pin":
            check = index
        elif step.action == "write":
            if writes == writes_done:
                return check if check >= 0 else index
            writes += 1
            check = -1
        elif set(step.pins).intersection(open_windows):
            return index
    return len(steps)


def _write(name: str, *, with_jpki: bool = True) -> PlannedStep:
    return PlannedStep(name=name, action="write", with_jpki=with_jpki)
