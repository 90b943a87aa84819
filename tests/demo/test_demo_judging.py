"""The checker finds what was planted, and nothing in what is right."""

import datetime
import functools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from warifu.contract.values import CertificateKind, Person
from warifu.demo.card_reading import Text
from warifu.demo.facts import Chip, Facts
from warifu.demo.judging import Expected, judge, judge_numbers
from warifu.demo.pki_facts import Lines, judge_answer, judge_lists, reason_text
from warifu.domain.applications.records import Application, NotificationCard
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.certificates.records import Certificate, KeyUse, StoredKeyPair
from warifu.domain.residents.records import AssignedNumber, Resident
from warifu.kernel.check_digits import application_id_from, individual_number_from, resident_code_from

RESIDENT = "01M808AYB18FF0TFZHJAEQDVP1"
OTHER = "01M808AYB18FF0TFZHJAEQDVP2"
CARD = "WRF000000000001"
FORM = application_id_from(bytes(range(16)))
NUMBER = individual_number_from(bytes(range(16)))
CODE = resident_code_from(bytes(range(16)))
TODAY = datetime.date(2026, 11, 22)
PERSON = Person(
    name="割符　太郎",
    birth_date=datetime.date(1980, 2, 3),
    sex="male",
    address="神奈川県横浜市中央１－１",
    municipality="141003",
)
KINDS: tuple[CertificateKind, ...] = ("authentication", "signature")


@functools.cache
def key(name: str) -> rsa.RSAPrivateKey:
    assert name
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def leaf(name: str, serial: int) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).serial_number(serial)
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=900))
    return builder.public_key(key(name).public_key()).sign(key(name), SHA256())


def der(name: str, serial: int) -> bytes:
    return leaf(name, serial).public_bytes(Encoding.DER)


def certificate(ca: str, serial: int, state: str = "valid", reason: str = "") -> Certificate:
    one = leaf(f"{ca}{serial}", serial)
    return Certificate(
        ca=ca,
        serial=serial,
        generation=1,
        card_id=CARD,
        resident_id=RESIDENT,
        municipality="141003",
        key_pair_id=f"pair-{ca}-{serial}",
        state=state,
        not_after=datetime.date(2029, 1, 1),
        tbs=one.tbs_certificate_bytes,
        der=one.public_bytes(Encoding.DER),
        reason=reason,
        revoked_ms=1 if state == "revoked" else None,
        changed_ms=1,
    )


def pair(one: Certificate) -> StoredKeyPair:
    public = key(f"{one.ca}{one.serial}").public_key()
    return StoredKeyPair(
        key_pair_id=one.key_pair_id,
        public_key=public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        wrapped=None,
        state="destroyed",
        changed_ms=1,
    )


def use(one: Certificate) -> KeyUse:
    return KeyUse(key_pair_id=one.key_pair_id, ca=one.ca, serial=one.serial, used_ms=1)


def write(name: str, place: int, state: str = "finished") -> CardWrite:
    return CardWrite(
        write_id=f"01M808AYB18FF0TFZHJAEQDV{place:02}",
        card_id=CARD,
        operation_id=f"operation-{place}",
        step_name=name,
        with_jpki=True,
        digest=bytes([place]) * 32,
        state=state,
        changed_ms=1,
    )


def operation(kind: str) -> Operation:
    return Operation(
        operation_id=f"operation-{kind}",
        card_id=CARD,
        kind=kind,
        municipality="141003",
        pins=(),
        state="closed",
        host_challenge=bytes(8),
        opened_ms=1,
        changed_ms=1,
    )


EXPECTED = Expected(
    resident_id=RESIDENT,
    card_id=CARD,
    application_id=FORM,
    person=PERSON,
    individual_number=NUMBER,
    operations=("setup", "delivery", "continuation"),
    suspensions=0,
    moves=1,
    abolished=False,
    may_sign=True,
)


def chip(writes: tuple[CardWrite, ...], serials: dict[CertificateKind, int]) -> Chip:
    return Chip(
        card_id=CARD,
        life="in_use",
        write_id=writes[-1].write_id,
        digest=writes[-1].digest,
        staged=False,
        municipality="14100",
        certificates={kind: der(f"{kind}{serial}", serial) for kind, serial in serials.items()},
        signatures={
            kind: key(f"{kind}{serial}").sign(kind.encode(), padding.PKCS1v15(), SHA256())
            for kind, serial in serials.items()
        },
        text=Text(number=NUMBER, name=PERSON.name, address=PERSON.address, birth="19800203", sex="1"),
        resident_code=CODE,
    )


@functools.cache
def good() -> Facts:
    """A resident who has moved."""
    writes = tuple(write(name, place) for place, name in enumerate(("set_up", "open_windows", "activate", "continue")))
    certificates = (
        certificate("authentication", 11),
        certificate("signature", 12, "revoked", "affiliation_changed"),
        certificate("signature", 13),
    )
    return Facts(
        residents=(
            Resident(
                resident_id=RESIDENT, resident_code=CODE, registered=True, changed_ms=1, version=2,
                **{name: getattr(PERSON, name) for name in Person.__struct_fields__},
            ),
        ),
        numbers=(AssignedNumber(resident_id=RESIDENT, encrypted=b"e" * 40, blind_index=b"i" * 16, assigned_ms=1),),
        notifications=(
            NotificationCard(resident_id=RESIDENT, application_id=FORM, municipality="131016", sent_ms=1),
        ),
        applications=(Application(application_id=FORM, resident_id=RESIDENT, state="accepted", changed_ms=1),),
        cards=(
            Card(
                card_id=CARD, application_id=FORM, resident_id=RESIDENT, live_resident_id=RESIDENT,
                municipality="141003", state="in_use", wants_signature=True, wants_authentication=True,
                has_signature=True, has_authentication=True, write_id=writes[-1].write_id, changed_ms=1,
            ),
        ),
        operations=tuple(operation(kind) for kind in EXPECTED.operations),
        writes=writes,
        certificates=certificates,
        key_pairs=tuple(pair(one) for one in certificates),
        key_uses=tuple(use(one) for one in certificates),
        events={
            "registry.registered": 1, "registry.changed": 1, "numbering.number_assigned": 1,
            "intake.notification_sent": 1, "intake.received": 1, "intake.checked": 1, "intake.accepted": 1,
            "center.ordered": 1, "center.made": 1, "center.write_finished": 4, "center.closed": 3, "issuance.made": 1,
            "authority.intent": 3, "authority.issued": 3,
        },
        looks=frozenset({"card.data", "card.personalise", "card.write"}),
        chip=chip(writes, {"authentication": 11, "signature": 13}),
    )  # fmt: skip


def test_what_is_right_is_not_complained_of() -> None:
    assert judge(EXPECTED, good()) == []


def test_a_certificate_issued_in_bulk_keeps_what_was_signed_in_itself_alone() -> None:
    assert judge(EXPECTED, in_parts(("authentication", 11))(changed("certificates", tbs=b"")(good()))) == []


def changed(field: str, place: int = 0, **values: Any) -> Callable[[Facts], Facts]:
    """Facts with one record changed."""

    def plant(facts: Facts) -> Facts:
        records = list(getattr(facts, field))
        records[place] = msgspec.structs.replace(records[place], **values)
        return msgspec.structs.replace(facts, **{field: tuple(records)})

    return plant


def chip_of(facts: Facts) -> Chip:
    assert facts.chip is not None
    return facts.chip


def on_chip(**values: Any) -> Callable[[Facts], Facts]:
    return lambda facts: msgspec.structs.replace(facts, chip=msgspec.structs.replace(chip_of(facts), **values))


def in_text(**values: Any) -> Callable[[Facts], Facts]:
    def plant(facts: Facts) -> Facts:
        text = chip_of(facts).text
        assert text is not None
        return on_chip(text=msgspec.structs.replace(text, **values))(facts)

    return plant


def doubled(field: str) -> Callable[[Facts], Facts]:
    return lambda facts: msgspec.structs.replace(facts, **{field: getattr(facts, field) * 2})


def lost(field: str) -> Callable[[Facts], Facts]:
    return lambda facts: msgspec.structs.replace(facts, **{field: ()})


def event(name: str, count: int) -> Callable[[Facts], Facts]:
    return lambda facts: msgspec.structs.replace(facts, events=facts.events | {name: count})


def in_parts(*serials: tuple[str, int]) -> Callable[[Facts], Facts]:
    """Facts in which these certificates were issued in bulk."""
    return lambda facts: msgspec.structs.replace(facts, in_parts=frozenset(serials))


PLANTED: list[tuple[str, Callable[[Facts], Facts]]] = [
    *((f"number of {what}", doubled(field)) for field, what in (
        ("residents", "resident records is 2"), ("numbers", "individual numbers is 2"),
        ("notifications", "notification cards is 2"), ("applications", "applications is 2"), ("cards", "cards is 2"),
    )),
    *((f"number of {what}", lost(field)) for field, what in (
        ("residents", "resident records is 0"), ("numbers", "individual numbers is 0"),
        ("notifications", "notification cards is 0"), ("applications", "applications is 0"), ("cards", "cards is 0"),
    )),
    ("other particulars", changed("residents", address="elsewhere")),
    ("left the register", changed("residents", registered=False)),
    ("resident code: wrong check digit", changed("residents", resident_code=CODE[:-1] + str((int(CODE[-1]) + 1) % 10))),
    ("stored in the clear", changed("numbers", encrypted=b"x" + NUMBER.encode())),
    ("application is 'checked'", changed("applications", state="checked")),
    ("card's state is 'set_up'", changed("cards", state="set_up")),
    ("card's municipality", changed("cards", municipality="131016")),
    ("open operation", changed("cards", open_operation="x")),
    ("continuation is", changed("cards", continuation_municipality="131016")),
    ("live resident is None", changed("cards", live_resident_id=None)),
    ("card's keys", changed("cards", has_signature=False)),
    ("operation-setup is 'open'", changed("operations", state="open")),
    ("pending write", changed("operations", pending_write="x")),
    ("operations is", lambda facts: msgspec.structs.replace(facts, operations=facts.operations[1:])),
    ("left as intent", changed("writes", 3, state="intent")),
    ("finished card writes", changed("writes", 1, state="undone")),
    ("without a digest", changed("writes", digest=b"")),
    ("count of center.ordered is 2", event("center.ordered", 2)),
    ("count of registry.changed is 0", event("registry.changed", 0)),
    ("count of numbering.number_assigned is 2", event("numbering.number_assigned", 2)),
    ("count of authority.issued is 4", event("authority.issued", 4)),
    ("no audit entry", lambda facts: msgspec.structs.replace(facts, looks=facts.looks - {"card.write"})),
    ("live signature certificates is 2", changed("certificates", 1, state="valid", reason="", revoked_ms=None)),
    ("live authentication certificates is 0", changed("certificates", state="revoked", revoked_ms=1)),
    ("not yet usable is 1", changed("certificates", state="issued")),
    ("revoked signature certificates", changed("certificates", 1, reason="superseded")),
    ("with reason", changed("certificates", 1, revoked_ms=None)),
    ("not what was intended", changed("certificates", tbs=b"other")),
    ("not what was intended", changed("certificates", tbs=b"")),
    ("not what was intended", in_parts(("authentication", 11))),
    ("serial in the authentication certificate", changed("certificates", serial=99)),
    ("serves 2 certificates", changed("certificates", key_pair_id="pair-signature-13")),
    ("not in the register", changed("key_pairs", key_pair_id="pair-x")),
    ("is reserved, not destroyed", changed("key_pairs", state="reserved")),
    ("not destroyed", changed("key_pairs", wrapped=b"secret")),
    ("was used for", changed("key_uses", serial=1)),
    ("was used for is None", lambda facts: msgspec.structs.replace(facts, key_uses=())),
    ("not the key in", changed("key_pairs", public_key=b"other")),
    ("cannot be read: card.gone", lambda facts: msgspec.structs.replace(facts, chip=None, chip_error="card.gone")),
    ("card id on the chip", on_chip(card_id="WRF000000000002")),
    ("life state on the chip", on_chip(life="set_up")),
    ("last card write on the chip", on_chip(write_id="x")),
    ("digest on the chip", on_chip(digest=b"x" * 32)),
    ("staged changes", on_chip(staged=True)),
    ("municipality on the chip", on_chip(municipality="13101")),
    ("resident code on the chip", on_chip(resident_code="0" * 11)),
    ("keys that sign", on_chip(signatures={})),
    ("text applet was not read", on_chip(text=None)),
    ("number on the chip changed", in_text(number="0" * 12)),
    ("text applet shows other", in_text(address="old")),
    ("text applet shows other", in_text(name="another")),
    ("text applet shows other", in_text(sex="2")),
]  # fmt: skip


@pytest.mark.parametrize(("complaint", "plant"), PLANTED)
def test_what_is_planted_is_found(complaint: str, plant: Callable[[Facts], Facts]) -> None:
    problems = judge(EXPECTED, plant(good()))
    assert any(complaint in problem for problem in problems), problems
    assert all(problem.startswith(f"resident {RESIDENT}: ") for problem in problems)


def test_a_certificate_of_before_on_the_chip_is_found() -> None:
    old = chip(good().writes, {"authentication": 11, "signature": 12})
    problems = judge(EXPECTED, msgspec.structs.replace(good(), chip=old))
    assert problems == [f"resident {RESIDENT}: the signature certificate on the chip is not the register's"]


def test_a_key_that_is_not_the_certificates_is_found() -> None:
    other = chip(good().writes, {"authentication": 11, "signature": 12})
    problems = judge(EXPECTED, on_chip(signatures=other.signatures)(good()))
    assert problems == [f"resident {RESIDENT}: the signature key on the chip is not its certificate's"]


def test_complaints_tell_no_personal_data() -> None:
    for _, plant in PLANTED:
        text = " ".join(judge(EXPECTED, plant(good())))
        assert not any(secret in text for secret in (PERSON.name, PERSON.address, NUMBER, CODE, "19800203"))


def test_an_abolished_card_has_nothing_live() -> None:
    expected = msgspec.structs.replace(EXPECTED, abolished=True, operations=(*EXPECTED.operations, "abolition"))
    ended = "cessation_of_operation"
    certificates = (
        certificate("authentication", 11, "revoked", ended),
        certificate("signature", 12, "revoked", "affiliation_changed"),
        certificate("signature", 13, "revoked", ended),
    )
    writes = (*good().writes, write("terminate", 4))
    facts = changed("cards", state="abolished", live_resident_id=None, write_id=writes[-1].write_id)(good())
    facts = msgspec.structs.replace(
        facts,
        certificates=certificates,
        writes=writes,
        operations=(*facts.operations, operation("abolition")),
        events=facts.events | {"center.write_finished": 5, "center.closed": 4},
        chip=msgspec.structs.replace(
            chip_of(facts), life="terminated", write_id=writes[-1].write_id, digest=writes[-1].digest, text=None,
            signatures={}, resident_code="", certificates={"authentication": der("authentication11", 11)},
        ),
    )  # fmt: skip
    assert judge(expected, facts) == []
    assert judge(expected, changed("certificates", state="valid", reason="", revoked_ms=None)(facts))
    assert judge(expected, on_chip(life="in_use")(facts))


def test_residents_share_nothing() -> None:
    other = msgspec.structs.replace(EXPECTED, resident_id=OTHER)
    found = judge_numbers([EXPECTED, other], [good(), good()])
    assert found == [
        f"a {what} belongs to two residents"
        for what in ("individual number", "blind index", "resident code", "card id", "key pair", "certificate")
    ]
    assert judge_numbers([EXPECTED], [good()]) == []


REGISTER = {"131016": {1: "superseded", 2: "certificate_hold"}, "141003": {3: "affiliation_changed"}}
FULL = {1: "superseded", 2: "certificate_hold", 3: "affiliation_changed"}


def test_lists_that_fit_the_register() -> None:
    assert judge_lists("signature", Lines(REGISTER, FULL, REGISTER)) == []


@pytest.mark.parametrize(
    ("complaint", "lines"),
    [
        ("full signature list: 3 is missing", Lines(REGISTER, {1: "superseded", 2: "certificate_hold"}, REGISTER)),
        ("full signature list: 4 is not revoked in the register", Lines(REGISTER, FULL | {4: "superseded"}, REGISTER)),
        ("full signature list: 1 has reason unspecified", Lines(REGISTER, FULL | {1: "unspecified"}, REGISTER)),
        ("signature list of 141003: 3 is missing", Lines(REGISTER, FULL, REGISTER | {"141003": {}})),
        ("do not divide the full one", Lines(REGISTER, FULL, REGISTER | {"011002": {1: "superseded"}})),
        ("signature list of 131016: 3 is not", Lines(REGISTER, FULL, REGISTER | {"131016": FULL, "141003": {}})),
    ],
)
def test_lists_that_do_not(complaint: str, lines: Lines) -> None:
    problems = judge_lists("signature", lines)
    assert any(problem.startswith(complaint) or complaint in problem for problem in problems), problems


def test_answers_against_the_register() -> None:
    stands, held = certificate("signature", 12), certificate("signature", 12, "revoked", "certificate_hold")
    assert list(judge_answer(stands, "good")) == []
    assert list(judge_answer(held, "certificate_hold")) == []
    for one, answer in ((stands, "superseded"), (stands, "unknown"), (held, "good"), (held, "superseded")):
        assert list(judge_answer(one, answer))


def test_reasons_in_the_registers_words() -> None:
    assert reason_text(None) == "unspecified"
    assert reason_text(x509.ReasonFlags.certificate_hold) == "certificate_hold"
    assert reason_text(x509.ReasonFlags.cessation_of_operation) == "cessation_of_operation"
    assert reason_text(x509.ReasonFlags.ca_compromise) == "ca_compromise"
