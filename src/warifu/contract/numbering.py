"""Individual number assignment (個人番号付番システム)."""

from typing import Annotated, ClassVar

from msgspec import Meta

from warifu.contract.message import Answer, Request
from warifu.contract.values import IndividualNumber, Municipality, Purpose, ResidentCode, ResidentId


class AssignNumber(Request, frozen=True, kw_only=True):
    """Give the resident an individual number, once for ever. Then tells intake to send the notification card."""

    NAME: ClassVar[str] = "numbering.assign"

    resident_id: ResidentId
    resident_code: ResidentCode
    municipality: Municipality


class Number(Answer, frozen=True, kw_only=True):
    """An individual number. Never stored by the asker except on the chip; never logged."""

    individual_number: IndividualNumber

    def __repr__(self) -> str:
        """Without the number."""
        return "Number(<hidden>)"


class RevealNumber(Request, frozen=True, kw_only=True):
    """Look at a resident's individual number: leaves an audit entry each time."""

    NAME: ClassVar[str] = "numbering.reveal"
    ANSWER: ClassVar[type[Answer]] = Number
    CHANGES: ClassVar[bool] = False

    resident_id: ResidentId
    purpose: Purpose


class FoundResident(Answer, frozen=True, kw_only=True):
    """Whose number it is; "" when it is nobody's."""

    resident_id: Annotated[str, Meta(pattern=r"^([0-9A-HJKMNP-TV-Z]{26})?$")]


class FindNumber(Request, frozen=True, kw_only=True):
    """Whose number is this? Found by the blind index: no number is decrypted for it. A look, audited."""

    NAME: ClassVar[str] = "numbering.find"
    ANSWER: ClassVar[type[Answer]] = FoundResident
    CHANGES: ClassVar[bool] = False

    individual_number: IndividualNumber
    purpose: Purpose
