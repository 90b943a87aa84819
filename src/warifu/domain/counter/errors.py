"""What the counter refuses, and why.

* ``Refused``
    * ``SignInRefused``    ``staff.sign_in_refused``
    * ``SignInNeeded``     ``staff.sign_in_needed``
    * ``NotYourRole``      ``staff.not_your_role``
    * ``StaffExists``      ``staff.exists``
    * ``BadStaff``         ``staff.bad_account``
    * ``ChecksMissing``    ``counter.checks_missing``
    * ``SamePerson``       ``counter.same_person``
    * ``NotAsked``         ``counter.not_asked``
    * ``CardNotHere``      ``counter.card_not_here``
* ``TryAgain``
    * ``SignInThrottled``  ``staff.throttled``
"""

from warifu.kernel.errors import NotAllowed, Refused, TryAgain


class SignInRefused(Refused):
    """Login, password or code is wrong; which one is not told."""

    code = "staff.sign_in_refused"


class SignInNeeded(NotAllowed):
    """Nobody is signed in here, or not any more."""

    code = "staff.sign_in_needed"


class NotYourRole(NotAllowed):
    """Another role does this."""

    code = "staff.not_your_role"


class StaffExists(Refused):
    """There is an account of this login at this municipality."""

    code = "staff.exists"


class BadStaff(Refused):
    """Login, role or municipality of an account is not as it must be."""

    code = "staff.bad_account"


class ChecksMissing(Refused):
    """The documents that the rules ask for were not all checked."""

    code = "counter.checks_missing"


class SamePerson(NotAllowed):
    """Who asked for an approval cannot give it."""

    code = "counter.same_person"


class NotAsked(NotAllowed):
    """The approval was decided already, or the resident's screen was asked for nothing."""

    code = "counter.not_asked"


class PaperNotDue(NotAllowed):
    """The card's state is not one in which this paper is printed."""

    code = "counter.paper_not_due"


class CardNotHere(Refused):
    """The card is not on this terminal's reader."""

    code = "counter.card_not_here"


class SignInThrottled(TryAgain):
    """Too many attempts failed.

    Args:
        retry_after_ms: when the next one counts.
    """

    code = "staff.throttled"

    def __init__(self, text: str = "too many attempts", *, retry_after_ms: int = 0) -> None:
        super().__init__(text)
        self.retry_after_ms = retry_after_ms
