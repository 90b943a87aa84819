"""A loss reported by whoever knows the application ID and the birth date: heard at once, but not guessed at."""

from typing import Final

import msgspec

from warifu.contract.center import LiveCard
from warifu.domain.applications.records import Application, LossTries
from warifu.kernel.errors import NotAllowed
from warifu.ports.store import Insert, Update

MAX_TRIES: Final = 5
TRIES_LAST_MS: Final = 24 * 3600 * 1000
HELD: Final = frozenset({"in_use", "suspended"})


class HolderUnknown(NotAllowed):
    """No application of this ID whose applicant was born on that day; which of both is wrong is not told."""

    code = "application.holder_unknown"


class TooManyTries(NotAllowed):
    """Too many reports with a wrong birth date: for a day only the counter and the telephone take it."""

    code = "application.too_many_tries"


class NoCardInUse(NotAllowed):
    """The resident holds no card that could be lost."""

    code = "application.no_card_in_use"


def may_try(application: Application | None, tries: LossTries | None, now_ms: int) -> Application:
    """The application, if a birth date may be tried on it.

    Raises:
        HolderUnknown: there is no such application.
        TooManyTries: wait, or come.
    """
    if application is None:
        raise HolderUnknown("no such holder")
    if tries is not None and tries.failures >= MAX_TRIES and now_ms < tries.since_ms + TRIES_LAST_MS:
        raise TooManyTries("too many tries")
    return application


def failed(application_id: str, tries: LossTries | None, now_ms: int) -> Insert | Update:
    """Count a wrong birth date."""
    if tries is None:
        return Insert(LossTries(application_id=application_id, failures=1, since_ms=now_ms))
    if now_ms >= tries.since_ms + TRIES_LAST_MS:
        return Update(msgspec.structs.replace(tries, failures=1, since_ms=now_ms))
    return Update(msgspec.structs.replace(tries, failures=tries.failures + 1))


def card_to_suspend(live: LiveCard) -> str:
    """The card the resident holds. ``NoCardInUse`` when there is none."""
    if live.state not in HELD:
        raise NoCardInUse("no card in use")
    return live.card_id
