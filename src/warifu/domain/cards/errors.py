"""What a card rule refuses, and why."""

from warifu.kernel.errors import NotAllowed


class WrongCardState(NotAllowed):
    """The card's state does not allow this operation."""

    code = "card.wrong_state"


class OtherOperationOpen(NotAllowed):
    """Another operation on this card is open: take that one up again or abandon it."""

    code = "operation.other_open"


class OperationEnded(NotAllowed):
    """The operation is closed or abandoned."""

    code = "operation.ended"


class WrongStep(NotAllowed):
    """Not the operation's next step."""

    code = "operation.wrong_step"


class WriteNotSettled(NotAllowed):
    """A card write of this operation is not settled yet."""

    code = "operation.write_not_settled"


class TakenUpAgain(NotAllowed):
    """Another run has taken the operation up since this one opened it: begin again."""

    code = "operation.taken_up_again"


class NoRoomLeft(NotAllowed):
    """The card's space for appended particulars (追記欄) is full."""

    code = "card.no_room_left"


class WrongMunicipality(NotAllowed):
    """The card belongs to another municipality's counter."""

    code = "card.wrong_municipality"


class AnotherCard(NotAllowed):
    """The chip on the reader is not the card of the operation."""

    code = "card.another_card"


class ChipDiffers(NotAllowed):
    """Chip and record disagree in a way that no open card write explains: an inquiry is needed."""

    code = "card.chip_differs"
