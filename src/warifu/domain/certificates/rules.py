"""Rules of the register: what a settled card write and an event do to certificates. Holds are never released."""

from collections.abc import Iterable, Sequence
from typing import Final, cast

import msgspec

from warifu.contract.authority import Certificates, OpenApplet, WriteSettled
from warifu.contract.message import Done
from warifu.contract.registry import ResidentChangedForAuthority
from warifu.contract.values import CertificateEvent, CertificateKind, CertificateState, CertificateView
from warifu.domain.certificates.errors import LeftRegister, StaleIdentity, WriteEnded
from warifu.domain.certificates.records import (
    AppletWrite,
    Certificate,
    KnownResident,
    ListRevision,
    Revocation,
    StoredKeyPair,
)
from warifu.domain.decision import Asked, Decision
from warifu.domain.pki.revocation import Reason, consequence, crl_entry, next_reason
from warifu.kernel.errors import KeyReused
from warifu.ports.store import Insert, Update, Write

REPLACING: Final = frozenset({"replace_signature", "replace_both"})
ISSUES_NOTHING: Final = frozenset({"permit", "open_windows", "enable", "disable"})
"""Purposes of card writes that only switch what is on the chip."""
LIVE: Final = frozenset({"issued", "valid"})
UNSIGNED: Final = frozenset({"intent", "abandoned"})
"""Of these there is no certificate: nothing about them leaves JPKI."""


class Register(msgspec.Struct, frozen=True):
    """What a rule sees: the certificates concerned, their revocations and revisions, the key pairs."""

    certificates: tuple[Certificate, ...]
    revocations: tuple[Revocation, ...] = ()
    revisions: tuple[ListRevision, ...] = ()
    key_pairs: tuple[StoredKeyPair, ...] = ()


def view(certificate: Certificate, *, with_der: bool = False) -> CertificateView:
    """A certificate as the contract shows it."""
    return CertificateView(
        kind=cast("CertificateKind", certificate.ca),
        serial=certificate.serial,
        state=cast("CertificateState", certificate.state),
        card_id=certificate.card_id,
        not_after=certificate.not_after,
        reason=certificate.reason,
        der=certificate.der if with_der else b"",
    )


def views(certificates: Iterable[Certificate], *, with_der: bool = False) -> Certificates:
    """Those that were signed, in the order of their serials."""
    shown = sorted(
        (each for each in certificates if each.state not in UNSIGNED), key=lambda each: (each.ca, each.serial)
    )
    return Certificates(certificates=tuple(view(each, with_der=with_der) for each in shown))


def is_over(certificate: Certificate) -> bool:
    """Whether nothing about it changes any more: never signed, or revoked for good; its key pair went with it."""
    held = certificate.reason == "certificate_hold"
    return certificate.state == "abandoned" or (certificate.state == "revoked" and not held)


def revoke(
    register: Register, event: CertificateEvent, asked: Asked, kinds: tuple[CertificateKind, ...] = (), at_ms: int = 0
) -> Decision:
    """Revoke what the event hits; what is not yet signed never will be. Doing it again changes nothing.

    The centre tells of an event after its commit, which may be late: by then an operation opened after the event may
    have put new certificates onto the card, and of those it says nothing.

    Args:
        register: the card's certificates.
        event: what happened.
        asked: by whom.
        kinds: only these of what the event hits; all of it when empty.
        at_ms: when it happened; 0 when that does not matter.
    """
    effect = consequence(event)
    hit = [
        each
        for each in register.certificates
        if each.ca in effect.kinds and (not kinds or each.ca in kinds) and (not at_ms or each.opened_ms <= at_ms)
    ]
    return _joined(*_ended(register, hit, effect.reason, asked), _abandoned(hit, asked))


def revoke_named(register: Register, reason: Reason, asked: Asked) -> Decision:
    """Revoke every certificate of the register for one reason; those revoked for good keep theirs."""
    hit = register.certificates
    return _joined(*_ended(register, hit, reason, asked), _abandoned(hit, asked))


def resident_changed(
    register: Register, known: KnownResident | None, request: ResidentChangedForAuthority, asked: Asked
) -> Decision:
    """Revoke what a change of the resident's record makes untrue; what is under way must ask for the new record.

    A certificate made from this version of the record, or a later one, says what is true: only a death ends it.
    """
    effect, gone = consequence(request.event), request.event == "death"
    of_kind = [each for each in register.certificates if each.ca in effect.kinds]
    hit = [each for each in of_kind if gone or each.resident_version < request.resident_version]
    told = Decision(answer=Done(), writes=(_known(known, request, asked),))
    return _joined(told, *_ended(register, hit, effect.reason, asked), _abandoned(hit, asked, make_room=True))


def require_current(known: KnownResident | None, resident_id: str, resident_version: int) -> None:
    """Nothing is certified of which JPKI has been told that it is no longer so.

    Raises:
        LeftRegister: the resident has left the register.
        StaleIdentity: a change was told of that this version of the record does not hold.
    """
    if known is None:
        return
    if not known.registered:
        raise LeftRegister(resident_id)
    if resident_version < known.resident_version:
        raise StaleIdentity(resident_id)


def _known(known: KnownResident | None, request: ResidentChangedForAuthority, asked: Asked) -> Write:
    fresh = KnownResident(
        version=known.version if known else 0,
        resident_id=request.resident_id,
        resident_version=max(request.resident_version, known.resident_version if known else 0),
        registered=request.event != "death" and (known is None or known.registered),
        changed_ms=asked.now_ms,
    )
    return Update(fresh) if known else Insert(fresh)


def write_opened(known: AppletWrite | None, request: OpenApplet, asked: Asked) -> tuple[Insert, ...]:
    """What makes a card write known, before anything of it can reach the chip; nothing when it is.

    Raises:
        WriteEnded: it has ended already.
        KeyReused: its id names another write.
    """
    if known is None:
        opened = AppletWrite(
            write_id=request.write_id,
            card_id=request.card_id,
            purpose=request.purpose,
            state="open",
            changed_ms=asked.now_ms,
        )
        return (Insert(opened),)
    if known.state != "open":
        raise WriteEnded(request.write_id)
    if (known.card_id, known.purpose) != (request.card_id, request.purpose):
        raise KeyReused(f"write {request.write_id}")
    return ()


def settled(register: Register, of_card: Sequence[AppletWrite], request: WriteSettled, asked: Asked) -> Decision:
    """A card write ended on the chip.

    Args:
        register: of the card.
        of_card: the card's writes.
        request: which ended, and how.
        asked: by whom.
    """
    write = next((each for each in of_card if each.write_id == request.write_id), None)
    if write is None:
        return Decision(answer=Done(), writes=(Insert(tombstone(request, asked)),))
    if write.state != "open":
        return Decision(answer=Done())
    ended = [Update(msgspec.structs.replace(write, state=request.outcome, changed_ms=asked.now_ms))]
    if request.outcome == "undone":
        decision = _undone(register, write, asked)
    elif write.purpose == "enable":
        decision = _enabled(register, asked)
    elif write.purpose in REPLACING:
        decision = _replaced(register, write, asked)
    else:
        decision = Decision(answer=Done())
    if write.purpose == "personalise" and request.outcome == "finished":
        decision = Decision(answer=Done(), writes=_destroyed(register, register.certificates, asked))
        ended += _never_made(of_card, write, asked)
    return msgspec.structs.replace(decision, answer=Done(), writes=(*ended, *decision.writes))


def _never_made(of_card: Iterable[AppletWrite], made: AppletWrite, asked: Asked) -> list[Update]:
    """The factory's attempts that broke: nobody else tells how they ended."""
    others = [each for each in of_card if each.write_id != made.write_id]
    return [
        Update(msgspec.structs.replace(each, state="undone", changed_ms=asked.now_ms))
        for each in others
        if (each.purpose, each.state) == ("personalise", "open")
    ]


def tombstone(request: WriteSettled, asked: Asked) -> AppletWrite:
    """A write that ended before JPKI heard of it: should its request still arrive, it is refused."""
    return AppletWrite(
        write_id=request.write_id, card_id=request.card_id, purpose="", state="undone", changed_ms=asked.now_ms
    )


def _enabled(register: Register, asked: Asked) -> Decision:
    issued = [each for each in register.certificates if each.state == "issued" and not each.write_id]
    return Decision(
        answer=Done(),
        writes=tuple(Update(_with_state(each, "valid", asked)) for each in issued),
        journal=tuple(asked.journal(_stream(each), "valid") for each in issued),
    )


def _replaced(register: Register, write: AppletWrite, asked: Asked) -> Decision:
    """New certificates are on the chip: they are valid, those they replace are superseded, key pairs destroyed."""
    mine = [each for each in register.certificates if each.write_id == write.write_id]
    new = [each for each in mine if each.state == "issued"]
    kinds = {each.ca for each in new}
    old = [each for each in register.certificates if each not in new and each.ca in kinds and each.state in LIVE]
    valid = Decision(
        answer=Done(),
        writes=tuple(Update(_with_state(each, "valid", asked)) for each in new),
        journal=tuple(asked.journal(_stream(each), "valid") for each in new),
    )
    superseded = _ended(register, old, "superseded", asked)
    destroyed = Decision(answer=Done(), writes=_destroyed(register, mine, asked))
    return _joined(valid, *superseded, _abandoned(mine, asked), destroyed)


def _undone(register: Register, write: AppletWrite, asked: Asked) -> Decision:
    """What was issued for this write alone never reached a chip; what was to be issued never will be."""
    if write.purpose not in REPLACING:
        return Decision(answer=Done())
    mine = [each for each in register.certificates if each.write_id == write.write_id]
    live = [each for each in mine if each.state in LIVE]
    revoked = _revoked(register, [(each, "unspecified") for each in live], asked)
    return _joined(revoked, _abandoned(mine, asked), Decision(answer=Done(), writes=_destroyed(register, mine, asked)))


def _ended(register: Register, hit: Sequence[Certificate], reason: Reason, asked: Asked) -> tuple[Decision, Decision]:
    """Those that were signed are revoked; nobody needs the key pairs any more."""
    signed = [(each, reason) for each in hit if each.state not in UNSIGNED]
    return _revoked(register, signed, asked), Decision(answer=Done(), writes=_destroyed(register, hit, asked))


def _abandoned(certificates: Iterable[Certificate], asked: Asked, *, make_room: bool = False) -> Decision:
    """Intents that end unsigned: no list needs to tell of them, and their key pairs serve nobody else.

    With ``make_room`` another may be issued in its place, for the same card write: nothing of this one left JPKI.
    """
    intents = [each for each in certificates if each.state == "intent"]
    ended = (_with_state(each, "abandoned", asked) for each in intents)
    if make_room:
        ended = (msgspec.structs.replace(each, write_id=f"abandoned:{each.serial}") for each in ended)
    return Decision(
        answer=Done(),
        writes=tuple(Update(each) for each in ended),
        journal=tuple(asked.journal(_stream(each), "abandoned") for each in intents),
    )


def _joined(*decisions: Decision) -> Decision:
    """One decision of several; the answer is the first one's."""
    return Decision(
        answer=decisions[0].answer,
        writes=tuple(write for each in decisions for write in each.writes),
        journal=tuple(entry for each in decisions for entry in each.journal),
    )


def _destroyed(register: Register, certificates: Iterable[Certificate], asked: Asked) -> tuple[Write, ...]:
    ids = {each.key_pair_id for each in certificates}
    return tuple(
        Update(msgspec.structs.replace(pair, wrapped=None, state="destroyed", changed_ms=asked.now_ms))
        for pair in register.key_pairs
        if pair.key_pair_id in ids and pair.state != "destroyed"
    )


def _revoked(register: Register, hit: Sequence[tuple[Certificate, Reason]], asked: Asked) -> Decision:
    known = {(each.ca, each.serial): each for each in register.revocations}
    changed: list[Certificate] = []
    writes: list[Write] = []
    for certificate, wanted in hit:
        current = cast("Reason", certificate.reason) if certificate.state == "revoked" else None
        if current is not None and current != "certificate_hold":
            continue  # revoked for good: whatever comes later changes nothing
        reason = next_reason(current, wanted)
        if reason == current:
            continue
        revoked_ms = certificate.revoked_ms or asked.now_ms
        after = msgspec.structs.replace(
            certificate, state="revoked", reason=reason, revoked_ms=revoked_ms, changed_ms=asked.now_ms
        )
        changed.append(after)
        writes += (Update(after), _line(after, reason, revoked_ms, known.get((after.ca, after.serial))))
    return Decision(
        answer=views([*changed, *(each for each, _ in hit if each.state == "revoked")]),
        writes=(*writes, *_bumped(register, changed, asked)),
        journal=tuple(asked.journal(_stream(each), "revoked", reason=each.reason) for each in changed),
    )


def _line(certificate: Certificate, reason: Reason, revoked_ms: int, known: Revocation | None) -> Write:
    line = Revocation(
        version=known.version if known else 0,
        ca=certificate.ca,
        serial=certificate.serial,
        generation=certificate.generation,
        municipality=certificate.municipality,
        reason=reason,
        revoked_ms=revoked_ms,
        not_after=certificate.not_after,
        entry=crl_entry(certificate.serial, revoked_ms, reason),
    )
    return Update(line) if known else Insert(line)


def _bumped(register: Register, changed: Iterable[Certificate], asked: Asked) -> tuple[Write, ...]:
    """Each touched list's revision moves, so that no list older than this revocation counts as current."""
    known = {(each.ca, each.municipality): each for each in register.revisions}
    writes: list[Write] = []
    for ca, municipality in sorted({(each.ca, each.municipality) for each in changed}):
        revision = known.get((ca, municipality))
        fresh = ListRevision(ca=ca, municipality=municipality, changed_ms=asked.now_ms)
        if revision is None:
            writes.append(Insert(fresh))
        else:
            writes.append(Update(msgspec.structs.replace(fresh, version=revision.version)))
    return tuple(writes)


def _with_state(certificate: Certificate, state: str, asked: Asked) -> Certificate:
    return msgspec.structs.replace(certificate, state=state, changed_ms=asked.now_ms)


def _stream(certificate: Certificate) -> str:
    return f"certificate:{certificate.ca}:{certificate.serial}"
