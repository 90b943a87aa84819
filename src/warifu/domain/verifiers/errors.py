"""Errors of the front."""

from warifu.kernel.errors import NotAllowed, Refused


class NotAdmitted(NotAllowed):
    """No approved verifier has this credential. Which part is wrong is not told."""

    code = "verifier.not_admitted"


class OutOfRight(NotAllowed):
    """The verifier may not ask about certificates of this kind."""

    code = "verifier.out_of_right"


class SamePerson(NotAllowed):
    """Who proposed or suspended a verifier does not approve it: that takes two people."""

    code = "verifier.same_person"


class AlreadyProposed(Refused):
    """A verifier of this id is registered."""

    code = "verifier.already_registered"


class TooMuchForADay(NotAllowed):
    """The verifier has asked as much as it may on one day."""

    code = "verifier.quota"
