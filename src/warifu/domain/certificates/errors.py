"""Errors of JPKI's reception."""

from warifu.kernel.errors import NotAllowed, TryAgain


class WriteEnded(NotAllowed):
    """The card write that this request belongs to has ended, or what was issued for it was revoked: begin another."""

    code = "authority.write_ended"


class StaleIdentity(TryAgain):
    """The identity to be certified is older than what the registry has told: ask the registry again."""

    code = "authority.stale_identity"


class LeftRegister(NotAllowed):
    """The resident has left the register: nothing is issued."""

    code = "authority.left_register"


class CardAlreadyMade(NotAllowed):
    """The card left the factory: it gets neither its keys nor a way onto the chip any more."""

    code = "authority.card_made"


class DualControl(NotAllowed):
    """Not approved by two key holders: nothing happens to an authority's keys."""

    code = "authority.dual_control"


class NotNextGeneration(NotAllowed):
    """The ceremony is for another generation than the next: it was held already, or one was left out."""

    code = "authority.not_next_generation"
