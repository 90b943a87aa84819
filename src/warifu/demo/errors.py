"""What can go wrong in a demonstration."""

from warifu.kernel.errors import Refused, Unavailable


class Unexpected(Refused):
    """A step ended otherwise than it should. Texts hold no personal data."""

    code = "demo.unexpected"


class WebUnavailable(Unavailable):
    """The responder's HTTP face does not answer now."""

    code = "demo.web_unavailable"


class WebRefused(Refused):
    """The responder's HTTP face refuses."""

    code = "demo.web_refused"


class NoResponder(Refused):
    """The running stack has no responder that speaks HTTP."""

    code = "demo.no_responder"


class WrongStack(Refused):
    """The running stack has not what is needed."""

    code = "demo.wrong_stack"
