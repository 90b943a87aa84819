"""The register of certificates: what events and settled card writes do. A held certificate is never released."""

import datetime
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.contract.authority import Certificates, JpkiPurpose, WriteSettled
from warifu.contract.message import Done
from warifu.contract.registry import ResidentChangedForAuthority
from warifu.contract.values import CertificateEvent, ResidentEvent
from warifu.domain.certificates import rules
from warifu.domain.certificates.errors import LeftRegister, StaleIdentity
from warifu.domain.certificates.records import (
    AppletWrite,
    Certificate,
    KnownResident,
    ListRevision,
    Revocation,
    StoredKeyPair,
)
from warifu.domain.certificates.rules import LIVE, REPLACING, Register
from warifu.domain.decision import Asked, Decision
from warifu.domain.pki.revocation import consequence
from warifu.ports.store import Insert, Record, Update

CARD, WRITE, OLDER = "WRF000000000001", "0" * 25 + "2", "0" * 25 + "1"
RESIDENT = "0" * 26
ASKED = Asked(operation_id="1" * 26, step="s", actor="center/system", now_ms=5_000)
EVENTS: tuple[CertificateEvent, ...] = get_args(CertificateEvent)
PURPOSES: tuple[JpkiPurpose, ...] = get_args(JpkiPurpose)


def certificate(ca: str, serial: int, state: str = "valid", **changes: Any) -> Certificate:
    plain = Certificate(
        version=2,
        ca=ca,
        serial=serial,
        generation=1,
        card_id=CARD,
        resident_id=RESIDENT,
        municipality="131016",
        key_pair_id=f"pair{serial}",
        state=state,
        not_after=datetime.date(2031, 4, 1),
        tbs=b"tbs",
        der=b"der",
        changed_ms=1,
    )
    return msgspec.structs.replace(plain, **changes)


def revoked(ca: str, serial: int, reason: str) -> Certificate:
    return certificate(ca, serial, "revoked", reason=reason, revoked_ms=1_000)


def pair(serial: int, state: str = "reserved") -> StoredKeyPair:
    wrapped = None if state == "destroyed" else b"w"
    return StoredKeyPair(
        version=1, key_pair_id=f"pair{serial}", public_key=b"p", wrapped=wrapped, state=state, changed_ms=1
    )


class Store:
    """The register as a store would keep it, so that rules can be applied one after another."""

    def __init__(self, *certificates: Certificate) -> None:
        self.records: dict[tuple[object, ...], Record] = {}
        for each in certificates:
            self.put(each)
            self.put(pair(each.serial))

    def put(self, record: Record) -> None:
        self.records[(record.TABLE, *(getattr(record, name) for name in record.KEY))] = record

    def of(self, kind: type[Record]) -> list[Any]:
        return [record for _, record in sorted(self.records.items(), key=str) if isinstance(record, kind)]

    def register(self) -> Register:
        return Register(
            certificates=tuple(self.of(Certificate)),
            revocations=tuple(self.of(Revocation)),
            revisions=tuple(self.of(ListRevision)),
            key_pairs=tuple(self.of(StoredKeyPair)),
        )

    def commit(self, decision: Decision) -> Decision:
        for each in decision.writes:
            assert isinstance(each, Insert | Update)
            key = (each.record.TABLE, *(getattr(each.record, name) for name in each.record.KEY))
            known = self.records.get(key)
            assert isinstance(each, Insert) == (known is None), key
            assert each.record.version == (known.version if known else 0), key
            self.put(msgspec.structs.replace(each.record, version=each.record.version + 1))
        return decision

    def revoke(self, event: CertificateEvent) -> Decision:
        return self.commit(rules.revoke(self.register(), event, ASKED))

    def settle(self, purpose: JpkiPurpose, outcome: str = "finished", state: str = "open") -> Decision:
        write = AppletWrite(version=1, write_id=WRITE, card_id=CARD, purpose=purpose, state=state, changed_ms=1)
        self.put(write)
        request = WriteSettled(card_id=CARD, write_id=WRITE, outcome=outcome)  # type: ignore[arg-type]
        return self.commit(rules.settled(self.register(), self.of(AppletWrite), request, ASKED))

    def states(self) -> dict[int, str]:
        """By serial: the state, or the reason of the revocation."""
        return {each.serial: each.reason or each.state for each in self.of(Certificate)}

    def pairs(self) -> dict[str, str]:
        return {each.key_pair_id: each.state for each in self.of(StoredKeyPair)}


def both(state: str = "valid") -> Store:
    return Store(certificate("authentication", 1, state), certificate("signature", 2, state))


# ---- events ------------------------------------------------------------------------------------------------------


def test_an_event_told_late_says_nothing_of_what_a_later_operation_issued() -> None:
    store = Store(
        certificate("signature", 1),
        certificate("signature", 2, opened_ms=1_000),
        certificate("signature", 3, "issued", opened_ms=1_001),
    )
    store.commit(rules.revoke(store.register(), "suspension", ASKED, at_ms=1_000))
    held = consequence("suspension").reason
    assert store.states() == {1: held, 2: held, 3: "issued"}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", ["issued", "valid"])
def test_an_event_revokes_what_it_hits_and_nothing_else(event: CertificateEvent, state: str) -> None:
    store, effect = both(state), consequence(event)
    decision = store.revoke(event)
    expected = {1: "authentication", 2: "signature"}
    assert store.states() == {serial: effect.reason if ca in effect.kinds else state for serial, ca in expected.items()}
    assert {(line.ca, line.revoked_ms, line.reason) for line in store.of(Revocation)} == {
        (ca, ASKED.now_ms, effect.reason) for ca in effect.kinds
    }
    assert {revision.ca for revision in store.of(ListRevision)} == set(effect.kinds)
    assert isinstance(decision.answer, Certificates)
    assert {view.kind for view in decision.answer.certificates} == set(effect.kinds)


@pytest.mark.parametrize("event", EVENTS)
def test_what_is_revoked_before_it_reached_a_chip_loses_its_key_pair(event: CertificateEvent) -> None:
    store = both("issued")
    store.revoke(event)
    kinds = {1: "authentication", 2: "signature"}
    gone = {f"pair{serial}" for serial, kind in kinds.items() if kind in consequence(event).kinds}
    assert {name for name, state in store.pairs().items() if state == "destroyed"} == gone


@pytest.mark.parametrize("event", EVENTS)
def test_the_same_event_again_changes_nothing(event: CertificateEvent) -> None:
    store = both()
    first = store.revoke(event)
    again = store.revoke(event)
    assert (again.writes, again.journal, again.answer) == ((), (), first.answer)


def test_an_intent_is_not_revoked_but_never_signed() -> None:
    store = Store(certificate("authentication", 1, "intent"), certificate("signature", 2, "intent", write_id=WRITE))
    store.revoke("move")
    assert store.states() == {1: "intent", 2: "abandoned"}
    assert store.pairs() == {"pair1": "reserved", "pair2": "destroyed"}
    assert store.of(Revocation) == store.of(ListRevision) == []
    assert [each.write_id for each in store.of(Certificate)] == ["", WRITE]


def test_a_hold_may_be_followed_by_a_final_revocation_since_the_same_instant() -> None:
    store = both()
    store.revoke("suspension")
    held = {line.serial: line.revoked_ms for line in store.of(Revocation)}
    later = msgspec.structs.replace(ASKED, now_ms=9_000)
    store.commit(rules.revoke(store.register(), "abolition", later))
    assert set(store.states().values()) == {"cessation_of_operation"}
    assert {line.serial: line.revoked_ms for line in store.of(Revocation)} == held
    assert {revision.version for revision in store.of(ListRevision)} == {2}


@given(st.lists(st.sampled_from(EVENTS), max_size=6))
def test_no_sequence_of_events_releases_a_certificate_or_changes_a_final_reason(events: list[CertificateEvent]) -> None:
    store = both()
    for event in events:
        before = store.states()
        store.revoke(event)
        for serial, state in store.states().items():
            assert before[serial] in LIVE | {"certificate_hold", state}
            assert state not in LIVE or before[serial] == state
    lines = {(line.ca, line.serial): line.reason for line in store.of(Revocation)}
    assert lines == {(each.ca, each.serial): each.reason for each in store.of(Certificate) if each.state == "revoked"}


def test_every_revocation_moves_the_revision_of_its_own_list_only() -> None:
    here, there = certificate("signature", 2), certificate("signature", 3, municipality="132217")
    store = Store(here, there)
    store.revoke("move")
    assert {(each.municipality, each.version) for each in store.of(ListRevision)} == {("131016", 1), ("132217", 1)}


# ---- changes of the resident's record ----------------------------------------------------------------------------


def changed(store: Store, event: ResidentEvent, version: int) -> Decision:
    told = ResidentChangedForAuthority(
        resident_id=RESIDENT,
        event=event,
        resident_version=version,
        municipality_before="131016",
        municipality_after="131016",
        occurred_on=datetime.date(2026, 4, 1),
    )
    known = next(iter(store.of(KnownResident)), None)
    return store.commit(rules.resident_changed(store.register(), known, told, ASKED))


@pytest.mark.parametrize("event", get_args(ResidentEvent))
def test_a_change_revokes_what_was_made_from_an_earlier_record(event: ResidentEvent) -> None:
    store = both()
    assert changed(store, event, 2).answer == Done()
    effect = consequence(event)
    assert {each.ca for each in store.of(Certificate) if each.reason == effect.reason} == set(effect.kinds)


def test_a_change_leaves_what_was_made_from_its_own_record() -> None:
    """The registry tells of a change after somebody has asked it for the new record."""
    store = Store(certificate("signature", 2, resident_version=2), certificate("signature", 3, resident_version=3))
    changed(store, "name", 3)
    assert store.states() == {2: "affiliation_changed", 3: "valid"}


def test_a_death_ends_every_certificate_whatever_it_was_made_from() -> None:
    store = Store(certificate("authentication", 1, resident_version=9), certificate("signature", 2, resident_version=9))
    changed(store, "death", 3)
    assert set(store.states().values()) == {"cessation_of_operation"}


def test_an_intent_made_from_an_earlier_record_makes_room_for_another() -> None:
    store = Store(certificate("signature", 2, "intent", write_id=WRITE))
    changed(store, "name", 2)
    (ended,) = store.of(Certificate)
    assert (ended.state, ended.write_id) == ("abandoned", "abandoned:2")
    assert store.pairs() == {"pair2": "destroyed"}


def test_the_newest_version_is_remembered_and_an_older_one_is_not_certified() -> None:
    store = both()
    rules.require_current(None, RESIDENT, 0)
    changed(store, "name", 3)
    changed(store, "move", 4)
    (known,) = store.of(KnownResident)
    assert (known.resident_version, known.registered) == (4, True)
    rules.require_current(known, RESIDENT, 4)
    rules.require_current(known, RESIDENT, 5)
    with pytest.raises(StaleIdentity):
        rules.require_current(known, RESIDENT, 3)


def test_nothing_is_certified_of_a_resident_who_has_left_the_register() -> None:
    store = both()
    changed(store, "death", 3)
    (known,) = store.of(KnownResident)
    with pytest.raises(LeftRegister):
        rules.require_current(known, RESIDENT, 4)


# ---- settled writes ----------------------------------------------------------------------------------------------


def test_a_delivery_makes_the_factorys_certificates_valid() -> None:
    store = both("issued")
    store.settle("enable")
    assert store.states() == {1: "valid", 2: "valid"}


def test_a_delivery_does_not_bring_back_what_was_revoked_before() -> None:
    store = Store(certificate("authentication", 1, "issued"), revoked("signature", 2, "affiliation_changed"))
    store.settle("enable")
    assert store.states() == {1: "valid", 2: "affiliation_changed"}


def test_made_cards_key_pairs_are_destroyed() -> None:
    store = both("issued")
    store.settle("personalise")
    assert (set(store.pairs().values()), set(store.states().values())) == ({"destroyed"}, {"issued"})


@pytest.mark.parametrize(("purpose", "after"), [("personalise", "undone"), ("permit", "open")])
def test_a_made_card_ends_the_factorys_attempts_that_broke(purpose: JpkiPurpose, after: str) -> None:
    store = both("issued")
    broken = AppletWrite(version=1, write_id=OLDER, card_id=CARD, purpose=purpose, state="open", changed_ms=1)
    store.put(broken)
    store.settle("personalise", "undone")
    assert {each.write_id: each.state for each in store.of(AppletWrite)} == {OLDER: "open", WRITE: "undone"}
    store.settle("personalise")
    assert {each.write_id: each.state for each in store.of(AppletWrite)} == {OLDER: after, WRITE: "finished"}


@pytest.mark.parametrize("purpose", sorted(REPLACING))
def test_new_certificates_are_valid_and_supersede_the_old(purpose: JpkiPurpose) -> None:
    store = both()
    store.put(certificate("signature", 3, "issued", write_id=WRITE))
    store.put(pair(3))
    store.settle(purpose)
    assert store.states() == {1: "valid", 2: "superseded", 3: "valid"}
    assert store.pairs() == {"pair1": "reserved", "pair2": "destroyed", "pair3": "destroyed"}


def test_a_resumption_leaves_held_certificates_held() -> None:
    store = Store(revoked("authentication", 1, "certificate_hold"), revoked("signature", 2, "certificate_hold"))
    for ca, serial in (("authentication", 3), ("signature", 4)):
        store.put(certificate(ca, serial, "issued", write_id=WRITE))
        store.put(pair(serial))
    store.settle("replace_both")
    assert store.states() == {1: "certificate_hold", 2: "certificate_hold", 3: "valid", 4: "valid"}


def test_what_was_revoked_between_script_and_end_does_not_become_valid() -> None:
    held = msgspec.structs.replace(revoked("signature", 3, "certificate_hold"), write_id=WRITE)
    store = Store(certificate("signature", 2), held)
    store.settle("replace_signature")
    assert store.states() == {2: "valid", 3: "certificate_hold"}
    assert store.pairs()["pair3"] == "destroyed"


def test_an_undone_write_revokes_only_what_was_issued_for_it() -> None:
    store = both()
    for serial, write in ((3, WRITE), (4, OLDER)):
        store.put(certificate("signature", serial, "issued", write_id=write))
        store.put(pair(serial))
    store.settle("replace_signature", "undone")
    assert store.states() == {1: "valid", 2: "valid", 3: "unspecified", 4: "issued"}
    assert [name for name, state in store.pairs().items() if state == "destroyed"] == ["pair3"]


@pytest.mark.parametrize("outcome", ["finished", "undone"])
def test_what_a_card_write_leaves_unsigned_is_never_signed(outcome: str) -> None:
    store = both()
    store.put(certificate("signature", 3, "intent", write_id=WRITE))
    store.put(pair(3))
    decision = store.settle("replace_signature", outcome)
    assert store.states() == {1: "valid", 2: "valid", 3: "abandoned"}
    assert store.pairs()["pair3"] == "destroyed"
    assert store.of(Revocation) == []
    assert [entry.event for entry in decision.journal] == ["abandoned"]
    assert [each.serial for each in rules.views(store.of(Certificate)).certificates] == [1, 2]


@pytest.mark.parametrize("purpose", [purpose for purpose in PURPOSES if purpose not in REPLACING])
def test_an_undone_write_that_issued_nothing_revokes_nothing(purpose: JpkiPurpose) -> None:
    store = both("issued")
    store.settle(purpose, "undone")
    assert store.states() == {1: "issued", 2: "issued"}


@pytest.mark.parametrize("purpose", ["permit", "open_windows", "disable"])
def test_other_writes_leave_certificates_alone(purpose: JpkiPurpose) -> None:
    store = both()
    store.settle(purpose)
    assert store.states() == {1: "valid", 2: "valid"}


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("outcome", ["finished", "undone"])
def test_a_settled_write_settled_again_changes_nothing(purpose: JpkiPurpose, outcome: str) -> None:
    store = both("issued")
    store.settle(purpose, outcome)
    ended = next(record for record in store.of(AppletWrite))
    assert ended.state == outcome
    request = WriteSettled(card_id=CARD, write_id=WRITE, outcome="undone")
    assert rules.settled(store.register(), [ended], request, ASKED).writes == ()


def test_a_write_that_ended_before_jpki_heard_of_it_leaves_a_tombstone() -> None:
    request = WriteSettled(card_id=CARD, write_id=WRITE, outcome="undone")
    (insert,) = rules.settled(both().register(), [], request, ASKED).writes
    assert isinstance(insert, Insert)
    assert isinstance(insert.record, AppletWrite)
    assert (insert.record.write_id, insert.record.state) == (WRITE, "undone")


# ---- views -------------------------------------------------------------------------------------------------------


def test_views_show_what_was_signed_oldest_first_and_bytes_only_on_request() -> None:
    found = [certificate("signature", 9), certificate("signature", 3, "intent"), certificate("signature", 5)]
    views = rules.views(found).certificates
    assert [(each.serial, each.der) for each in views] == [(5, b""), (9, b"")]
    assert [each.der for each in rules.views(found, with_der=True).certificates] == [b"der", b"der"]
