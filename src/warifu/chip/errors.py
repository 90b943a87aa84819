"""What can go wrong between a chip and those who speak to it.

* ``CardRefused``             ``card.refused``: the chip answered with an error status word
    * ``WrongPin``            ``card.wrong_pin``
    * ``PinBlocked``          ``card.pin_blocked``
* ``CardNotAuthentic``        ``card.not_authentic``: the card cryptogram or a response MAC is wrong
* ``CardCertificateInvalid``  ``card.certificate_invalid``
* ``BadCardAnswer``           ``card.bad_answer``: a response has not the promised form
* ``BadContent``              ``card.bad_content``: a field of a file to be written has a wrong length
* ``ImageDamaged``            ``card.image_damaged``
"""

from warifu.kernel.errors import Fault, Malformed, NotAllowed, Refused


class CardRefused(Refused):
    """The chip answered a command with an error.

    Args:
        ins: the command's INS byte.
        status: the status word.
    """

    code = "card.refused"

    def __init__(self, ins: int, status: int) -> None:
        super().__init__(f"command {ins:02X} ended with {status:04X}")
        self.ins = ins
        self.status = status


class WrongPin(CardRefused):
    """VERIFY failed; ``tries_left`` remain."""

    code = "card.wrong_pin"

    def __init__(self, ins: int, status: int) -> None:
        super().__init__(ins, status)
        self.tries_left = status & 0x0F


class PinBlocked(CardRefused):
    """The PIN is blocked, or not set yet."""

    code = "card.pin_blocked"


class CardNotAuthentic(NotAllowed):
    """The card cryptogram or a response MAC is not what this card's keys give: other keys, or a forged answer."""

    code = "card.not_authentic"


class CardCertificateInvalid(NotAllowed):
    """The card's certificate is not card management's, or names another card."""

    code = "card.certificate_invalid"


class BadCardAnswer(Malformed):
    """A response does not have the form the card manual gives it."""

    code = "card.bad_answer"


class ImageDamaged(Fault):
    """The stored image of a chip is not whole."""

    code = "card.image_damaged"


class BadContent(Malformed):
    """A field of a card file has not the length or form the file needs."""

    code = "card.bad_content"
