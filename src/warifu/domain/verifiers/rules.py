"""Rules of the front: two people register a verifier, one suspends it, and each asks within its right."""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final, cast

import msgspec

from warifu.contract.authority import SerialStatus
from warifu.contract.front import (
    ApproveVerifier,
    RegisterVerifier,
    SuspendVerifier,
    Verifier,
    VerifierState,
    VerifierView,
)
from warifu.contract.front import VerifierUse as UseView
from warifu.contract.values import CertificateKind
from warifu.domain.decision import Asked, Decision
from warifu.domain.verifiers.errors import AlreadyProposed, NotAdmitted, OutOfRight, SamePerson, TooMuchForADay
from warifu.domain.verifiers.records import FinalStatus, StoredUse, StoredVerifier
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import NotAllowed, NotFound
from warifu.ports.store import Insert, Update, Write

MOST_A_DAY: Final = 20_000_000
"""Statuses one verifier may ask for on one day: as many as there were certificates in 2016."""
_RELEASABLE: Final = "certificate_hold"
"""The one reason that a later event may replace (it is never released)."""


def view(verifier: StoredVerifier) -> VerifierView:
    """A verifier without its credential."""
    return VerifierView(
        verifier_id=verifier.verifier_id,
        kind=cast("CertificateKind", verifier.kind),
        name=verifier.name,
        approval=verifier.approval,
        state=cast("VerifierState", verifier.state),
        proposed_by=verifier.proposed_by,
        approved_by=verifier.approved_by,
        suspended_by=verifier.suspended_by,
        changed_ms=verifier.changed_ms,
    )


def register(found: StoredVerifier | None, request: RegisterVerifier, asked: Asked) -> Decision:
    """Propose a verifier."""
    if found is not None:
        raise AlreadyProposed(request.verifier_id)
    proposed = StoredVerifier(
        verifier_id=request.verifier_id,
        kind=request.kind,
        name=request.name,
        approval=request.approval,
        state="proposed",
        proposed_by=asked.actor,
        changed_ms=asked.now_ms,
    )
    return _decided(Insert(proposed), proposed, "proposed", asked)


def approve(found: StoredVerifier | None, request: ApproveVerifier, asked: Asked) -> Decision:
    """Approve a verifier that somebody else proposed or suspended; from here on its new credential is good."""
    verifier = _known(found, request.verifier_id)
    if verifier.state == "approved":
        raise NotAllowed(f"{verifier.verifier_id} is approved")
    if asked.actor in {verifier.proposed_by, verifier.suspended_by}:
        raise SamePerson(verifier.verifier_id)
    approved = msgspec.structs.replace(
        verifier, state="approved", credential=request.credential, approved_by=asked.actor, changed_ms=asked.now_ms
    )
    return _decided(Update(approved), approved, "approved", asked)


def suspend(found: StoredVerifier | None, request: SuspendVerifier, asked: Asked) -> Decision:
    """End a verifier's access; its credential is gone for good. Doing it again changes nothing."""
    verifier = _known(found, request.verifier_id)
    if verifier.state == "suspended":
        return Decision(answer=Verifier(verifier=view(verifier)))
    suspended = msgspec.structs.replace(
        verifier, state="suspended", credential=b"", suspended_by=asked.actor, changed_ms=asked.now_ms
    )
    return _decided(Update(suspended), suspended, f"suspended.{request.reason}", asked)


def admit(found: StoredVerifier | None, secret: bytes, kind: CertificateKind) -> StoredVerifier:
    """Who asks, if it may ask about this kind.

    Args:
        found: the verifier it says it is.
        secret: the one it shows; compared by digest, in constant time.
        kind: about which certificates it asks.

    Raises:
        NotAdmitted: unknown, not approved, or another secret: which one is not told.
        OutOfRight: certificates of the other kind.
    """
    shown, kept = hashlib.sha256(secret).digest(), found.credential if found else b""
    if not hmac.compare_digest(shown, kept) or found is None or found.state != "approved":
        raise NotAdmitted("no approved verifier has this credential")
    if found.kind != kind:
        raise OutOfRight(f"{found.verifier_id} may not ask about {kind} certificates")
    return found


def used(
    found: StoredUse | None, verifier: StoredVerifier, what: str, statuses: Iterable[SerialStatus], now_ms: int
) -> Write:
    """One more request in the day's log. ``TooMuchForADay`` when it goes beyond what may be asked."""
    asked = tuple(statuses)
    before = found or StoredUse(
        verifier_id=verifier.verifier_id, day=jst_date(now_ms), what=what, requests=0, certificates=0, revoked=0
    )
    after = msgspec.structs.replace(
        before,
        requests=before.requests + 1,
        certificates=before.certificates + len(asked),
        revoked=before.revoked + sum(one.status == "revoked" for one in asked),
    )
    if after.certificates > MOST_A_DAY:
        raise TooMuchForADay(verifier.verifier_id)
    return Update(after) if found else Insert(after)


def use_view(use: StoredUse) -> UseView:
    """A day of the log."""
    return UseView(
        day=use.day, what=use.what, requests=use.requests, certificates=use.certificates, revoked=use.revoked
    )


def final(ca: str, status: SerialStatus) -> FinalStatus | None:
    """What may be kept of a status: a revocation that nothing can change any more."""
    if status.status != "revoked" or status.reason == _RELEASABLE or status.revoked_ms is None:
        return None
    return FinalStatus(ca=ca, serial=status.serial, reason=status.reason, revoked_ms=status.revoked_ms)


def of_final(kept: FinalStatus) -> SerialStatus:
    """A status that was kept."""
    return SerialStatus(serial=kept.serial, status="revoked", reason=kept.reason, revoked_ms=kept.revoked_ms)


def _known(found: StoredVerifier | None, verifier_id: str) -> StoredVerifier:
    if found is None:
        raise NotFound(f"verifier {verifier_id}")
    return found


def _decided(write: Write, verifier: StoredVerifier, event: str, asked: Asked) -> Decision:
    return Decision(
        answer=Verifier(verifier=view(verifier)),
        writes=(write,),
        journal=(asked.journal(f"verifier:{verifier.verifier_id}", event.partition(".")[0], by=asked.actor),),
        audit=(asked.audit(f"verifier.{event}", verifier.verifier_id, "verifier.administration"),),
    )
