"""What the lending desk refuses."""

from warifu.kernel.errors import Fault, NotFound, Refused


class UnknownPersona(NotFound):
    """There is no persona of this name; ``warifu card personas`` lists them."""

    code = "lend.unknown_persona"


class NotLent(NotFound):
    """This card was not made here: the test CA knows nothing of it."""

    code = "lend.not_lent"


class BadPin(Refused):
    """A test PIN is not of the form its applet asks for, or is for a PIN that no card has."""

    code = "lend.bad_pin"


class ChipRefused(Fault):
    """A chip that we have just made refuses a command of ours."""

    code = "lend.chip_refused"
