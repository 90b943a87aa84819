"""Rules of the counter: roles, locks, throttling, the checks before a delivery, PINs, two-person approval."""

import re
from typing import Final, Literal, cast

import msgspec

from warifu.contract.terminal import Performed
from warifu.contract.values import OperationKind, PinName
from warifu.domain.cards.plans import STATES
from warifu.domain.counter.errors import (
    BadStaff,
    ChecksMissing,
    NotAsked,
    NotYourRole,
    SamePerson,
    SignInThrottled,
)
from warifu.domain.counter.records import Approval, Login, Staff, Work
from warifu.kernel.errors import TryAgain, WarifuError
from warifu.kernel.municipalities import municipality as known_municipality

Role = Literal["counter", "manager", "auditor"]
WorkState = Literal["running", "pins", "proof", "broken", "unknown", "busy", "done", "abandoned", "refused"]
"""running: a terminal works on it · pins, proof: the resident enters or proves PINs · broken, unknown, busy: to be
taken up again (the chip or the record will say what is so; the centre had no room) · done, abandoned, refused: over."""
OPEN_STATES: Final[tuple[WorkState, ...]] = ("running", "pins", "proof", "broken", "unknown", "busy")

IDLE_MS: Final = 10 * 60_000
"""Without a click for so long, a screen is locked."""
LOGIN_MS: Final = 12 * 3_600_000
"""Nobody stays signed in for longer."""
SEEN_EVERY_MS: Final = 30_000
"""How exactly it is recorded when somebody last did something."""
FREE_FAILURES: Final = 4
"""Attempts that may fail before the account waits."""
LOCK_MS: Final = 30_000
"""The first wait; it doubles with every further failure."""
LOCK_MAX_MS: Final = 3_600_000

SHORTEST_WAIT_MS: Final = 30_000
"""What people are told to expect of a disturbance that has only begun."""

PROVES: Final[frozenset[OperationKind]] = frozenset({"continuation", "update", "resumption", "certificate_renewal"})
"""Operations for which the resident proves the juki PIN first."""
REASONS: Final = ("lost", "stolen", "destroyed", "deceased", "other")
"""Why a card is ended without being there."""

DOCUMENTS_A: Final = ("licence", "passport", "disability", "residence_card", "history")
"""A: with a photo, issued by an authority; one is enough."""
DOCUMENTS_B: Final = ("insurance", "pension", "student", "employee", "medical")
"""B: without; two are needed."""
PROXY: Final = ("proxy_power", "proxy_documents", "proxy_reason")
"""Who comes for somebody else: 照会書兼回答書, own documents, 疎明資料."""
CHECKS: Final = frozenset({"notice", "face", "returned", "proxy", *DOCUMENTS_A, *DOCUMENTS_B, *PROXY})

_LOGIN: Final = re.compile(r"[a-z][a-z0-9.-]{2,29}", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{4}", re.ASCII)
_PASSWORD: Final = re.compile(r"(?=.*[A-Z])(?=.*[0-9])[A-Z0-9]{6,16}", re.ASCII)


# ---- disturbances ------------------------------------------------------------------------------------------------


def expected_wait_ms(lasted_ms: int) -> int:
    """How much longer a disturbance is likely to last: as long again as it has lasted, half a minute at least.

    Nothing else is known of it: of breaks whose lengths are of every order, this is the middle. Programs that end are
    back within seconds.
    """
    return max(SHORTEST_WAIT_MS, lasted_ms)


# ---- staff -------------------------------------------------------------------------------------------------------


def require_account(municipality: str, login: str, role: str) -> None:
    """An account as it must be. ``BadStaff`` says what is wrong."""
    if not _LOGIN.fullmatch(login):
        raise BadStaff("a login is 3 to 30 of a-z 0-9 . - and begins with a letter")
    if role not in {"counter", "manager", "auditor"}:
        raise BadStaff("a role is counter, manager or auditor")
    known_municipality(municipality)


def require_role(staff: Staff, *roles: Role) -> None:
    """``NotYourRole`` unless it is one of these."""
    if staff.role not in roles:
        raise NotYourRole(f"this is done by: {', '.join(roles)}")


def require_unthrottled(staff: Staff, now_ms: int) -> None:
    """``SignInThrottled`` while the account waits."""
    if now_ms < staff.locked_until_ms:
        raise SignInThrottled(retry_after_ms=staff.locked_until_ms - now_ms)


def failed(staff: Staff, now_ms: int) -> Staff:
    """The account after an attempt that failed."""
    failures = staff.failures + 1
    over = failures - FREE_FAILURES
    wait_ms = min(LOCK_MS << min(over - 1, 20), LOCK_MAX_MS) if over > 0 else 0
    return msgspec.structs.replace(staff, failures=failures, locked_until_ms=now_ms + wait_ms if wait_ms else 0)


def signed_in(staff: Staff, totp_step: int) -> Staff:
    """The account after an attempt that succeeded."""
    return msgspec.structs.replace(staff, failures=0, locked_until_ms=0, totp_step=totp_step)


def is_over(login: Login, now_ms: int) -> bool:
    """Whether the person must sign in anew."""
    return now_ms >= login.began_ms + LOGIN_MS


def is_idle(login: Login, now_ms: int) -> bool:
    """Whether the screen is locked."""
    return login.locked or now_ms >= login.seen_ms + IDLE_MS


# ---- work --------------------------------------------------------------------------------------------------------


def missing_checks(kind: OperationKind, checks: frozenset[str]) -> tuple[str, ...]:
    """What is still to be checked before an operation may begin, by code; empty when all is."""
    if kind not in {"delivery", "pin_reset"}:
        return ()
    missing = []
    if kind == "delivery" and "notice" not in checks:
        missing.append("notice")
    if not checks & set(DOCUMENTS_A) and len(checks & set(DOCUMENTS_B)) < 2:  # noqa: PLR2004 - A one, or B two
        missing.append("documents")
    if "face" not in checks:
        missing.append("face")
    if "proxy" in checks:
        missing += [each for each in PROXY if each not in checks]
    return tuple(missing)


def require_checked(kind: OperationKind, checks: frozenset[str]) -> tuple[str, ...]:
    """The checks to be recorded. ``ChecksMissing`` names those that lack."""
    missing = missing_checks(kind, checks)
    if missing:
        raise ChecksMissing(", ".join(missing))
    return tuple(sorted(checks & CHECKS))


def possible(state: str, *, moved: bool) -> tuple[OperationKind, ...]:
    """The operations that a card in this state may have at the counter, the likeliest first."""
    kinds: tuple[OperationKind, ...] = (
        "continuation",
        "setup",
        "delivery",
        "resumption",
        "update",
        "pin_reset",
        "certificate_renewal",
        "abolition",
    )
    unless_moved = {"update", "pin_reset", "certificate_renewal"}
    found = [kind for kind in kinds if state in STATES[kind]]
    if moved:
        return tuple(kind for kind in found if kind not in unless_moved)
    return tuple(kind for kind in found if kind != "continuation")


def first_state(kind: OperationKind) -> WorkState:
    """Where a fresh piece of work stands: some wait for the resident before anything is done."""
    return "proof" if kind in PROVES else "running"


def after_run(work: Work, performed: Performed, now_ms: int) -> Work:
    """The work after a run that was not broken off."""
    states: dict[str, WorkState] = {
        "done": "done",
        "abandoned": "abandoned",
        "unknown": "unknown",
        "needs_pins": "pins",
    }
    return msgspec.structs.replace(
        work,
        state=states[performed.outcome],
        waiting_pins=tuple(performed.waiting_pins),
        card_state=performed.card_state,
        trouble="",
        changed_ms=now_ms,
    )


def after_trouble(work: Work, error: WarifuError, now_ms: int, *, opened: bool) -> Work:
    """The work after a run that ended with an error.

    Args:
        work: the work.
        error: how the run ended.
        now_ms: when.
        opened: the centre has the operation open: then it is taken up again or given up, never just dropped.
    """
    state: WorkState = "broken" if opened or isinstance(error, TryAgain) else "refused"
    if error.code in ASK_AGAIN:
        state = "proof"
    elif error.code == "connection_excess":
        state = "busy"
    return msgspec.structs.replace(work, state=state, trouble=error.code, changed_ms=now_ms)


ASK_AGAIN: Final = frozenset({"card.wrong_pin", "pin.needed"})
"""Errors that the resident corrects."""


# ---- PINs --------------------------------------------------------------------------------------------------------


def pin_problem(pin: PinName, value: str, again: str) -> str:
    """Code of what is wrong with a PIN that a resident chose; "" when nothing is (card.md 1.5)."""
    if value != again:
        return "differs"
    if pin == "signature":
        return "" if _PASSWORD.fullmatch(value.upper()) else "password_form"
    return "" if _DIGITS.fullmatch(value) else "digits_form"


# ---- two people --------------------------------------------------------------------------------------------------


def granted(approval: Approval, staff: Staff, now_ms: int) -> Approval:
    """The approval as given by another person.

    Raises:
        NotYourRole: only managers approve.
        SamePerson: who asked cannot approve.
        NotAsked: it was decided already.
    """
    require_role(staff, "manager")
    if approval.state not in {"asked", "granted"}:
        raise NotAsked(approval.state)
    if approval.asked_by == staff.login:
        raise SamePerson("another person approves")
    return msgspec.structs.replace(approval, state="granted", decided_by=staff.login, decided_ms=now_ms)


def kind_of(work: Work) -> OperationKind:
    """The work's kind, as the contract names it."""
    return cast("OperationKind", work.kind)
