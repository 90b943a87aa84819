"""What must be so at the end of a run, for each resident: rules over facts, without any reading or asking."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from warifu.contract.values import CertificateKind, OperationKind, Person
from warifu.demo.facts import Chip, Facts
from warifu.domain.cards.records import Card
from warifu.domain.certificates.records import Certificate
from warifu.domain.certificates.rules import UNSIGNED
from warifu.kernel.check_digits import require_application_id, require_individual_number, require_resident_code
from warifu.kernel.errors import Malformed

WRITES: Final[dict[OperationKind, tuple[str, ...]]] = {
    "setup": ("set_up",),
    "delivery": ("open_windows", "activate"),
    "continuation": ("continue",),
    "resumption": ("resume",),
    "pin_reset": ("open_windows",),
    "abolition": ("terminate",),
}
"""The card writes of each operation (card.md 3.3)."""
DIGEST_BYTES: Final = 32
SEX: Final = {"male": "1", "female": "2", "other": "9", "unknown": "0"}


class Expected(Struct, frozen=True, kw_only=True):
    """What the run did with a resident."""

    resident_id: str
    card_id: str
    application_id: str
    person: Person
    """As it is now."""
    individual_number: str
    """As read from the card during the run."""
    operations: tuple[OperationKind, ...]
    """Those done, in order."""
    suspensions: int
    moves: int
    abolished: bool
    may_sign: bool

    def __repr__(self) -> str:
        """Without personal data."""
        return f"Expected({self.resident_id})"


def judge(expected: Expected, facts: Facts) -> list[str]:
    """Every inconsistency of one resident, each in a line; none when all is as it should be."""
    rules = (_once, _record, _application, _operations, _writes, _journal, _looks, _certificates, _key_pairs)
    problems = [problem for rule in rules for problem in rule(expected, facts)]
    if len(facts.cards) == 1:
        problems += _card(expected, facts.cards[0])
        problems += _chip(expected, facts, facts.cards[0])
    return [f"resident {expected.resident_id}: {problem}" for problem in problems]


def _differ(what: str, found: object, wanted: object) -> Iterator[str]:
    if found != wanted:
        yield f"{what} is {found!r}, not {wanted!r}"


# ---- records -----------------------------------------------------------------------------------------------------


def _once(expected: Expected, facts: Facts) -> Iterator[str]:
    """Nothing lost, nothing twice."""
    yield from _differ("number of resident records", len(facts.residents), 1)
    yield from _differ("number of individual numbers", len(facts.numbers), 1)
    yield from _differ("number of notification cards", len(facts.notifications), 1)
    yield from _differ("number of applications", len(facts.applications), 1)
    yield from _differ("number of cards", len(facts.cards), 1)
    for card in facts.cards:
        yield from _differ("card id", card.card_id, expected.card_id)


def _record(expected: Expected, facts: Facts) -> Iterator[str]:
    for resident in facts.residents:
        if resident.person() != expected.person:
            yield "the register has other particulars"
        if not resident.registered:
            yield "the resident has left the register"
        yield from _check_digits("resident code", resident.resident_code, require_resident_code)
    for number in facts.numbers:
        plain = expected.individual_number.encode()
        if plain and (plain in number.encrypted or plain in number.blind_index):
            yield "the individual number is stored in the clear"
    yield from _check_digits("individual number", expected.individual_number, require_individual_number)


def _check_digits(what: str, text: str, require: Callable[[str], None]) -> Iterator[str]:
    try:
        require(text)
    except Malformed:
        yield f"{what}: wrong check digit"


def _application(expected: Expected, facts: Facts) -> Iterator[str]:
    for application in facts.applications:
        yield from _differ("application", application.state, "accepted")
        yield from _differ("application id", application.application_id, expected.application_id)
        yield from _check_digits("application id", application.application_id, require_application_id)
    for notification in facts.notifications:
        yield from _differ("notification card's form", notification.application_id, expected.application_id)


def _card(expected: Expected, card: Card) -> Iterator[str]:
    yield from _differ("card's state", card.state, "abolished" if expected.abolished else "in_use")
    yield from _differ("card's municipality", card.municipality, expected.person.municipality)
    yield from _differ("card's live resident", card.live_resident_id, None if expected.abolished else card.resident_id)
    yield from _differ("card's open operation", card.open_operation, "")
    yield from _differ("card's continuation", (card.continuation_due, card.continuation_municipality), (None, ""))
    yield from _differ("card's application", card.application_id, expected.application_id)
    yield from _differ("card's keys", (card.has_signature, card.has_authentication), (expected.may_sign, True))


# ---- operations and card writes ------------------------------------------------------------------------------------


def _operations(expected: Expected, facts: Facts) -> Iterator[str]:
    kinds = Counter(operation.kind for operation in facts.operations)
    yield from _differ("operations", dict(sorted(kinds.items())), dict(sorted(Counter(expected.operations).items())))
    for operation in facts.operations:
        yield from _differ(f"operation {operation.operation_id}", operation.state, "closed")
        yield from _differ(f"pending write of operation {operation.operation_id}", operation.pending_write, "")


def _writes(expected: Expected, facts: Facts) -> Iterator[str]:
    """Every planned write was finished once; what broke was undone."""
    for write in facts.writes:
        if write.state not in {"finished", "undone"}:
            yield f"card write {write.write_id} ({write.step_name}) is left as {write.state}"
        if write.state == "finished" and len(write.digest) != DIGEST_BYTES:
            yield f"card write {write.write_id} is finished without a digest"
    finished = Counter(write.step_name for write in facts.writes if write.state == "finished")
    wanted = Counter(name for kind in expected.operations for name in WRITES[kind])
    yield from _differ("finished card writes", dict(sorted(finished.items())), dict(sorted(wanted.items())))


def _journal(expected: Expected, facts: Facts) -> Iterator[str]:
    """Each effect stands in the journals as often as it happened."""
    finished = sum(write.state == "finished" for write in facts.writes)
    signed = sum(certificate.state not in UNSIGNED for certificate in facts.certificates)
    wanted = {
        "registry.registered": 1,
        "registry.changed": expected.moves,
        "numbering.number_assigned": 1,
        "intake.notification_sent": 1,
        "intake.received": 1,
        "intake.checked": 1,
        "intake.accepted": 1,
        "center.ordered": 1,
        "center.made": 1,
        "center.suspended": expected.suspensions,
        "center.write_finished": finished,
        "center.closed": len(expected.operations),
        "issuance.made": 1,
        "authority.intent": len(facts.certificates),
        "authority.issued": signed,
    }
    for event, count in wanted.items():
        yield from _differ(f"journal's count of {event}", facts.events.get(event, 0), count)


def _looks(expected: Expected, facts: Facts) -> Iterator[str]:
    """The factory looked at the number twice; so did everybody who wrote particulars anew."""
    wanted = {"card.data", "card.personalise"} | ({"card.write"} if "continuation" in expected.operations else set())
    for purpose in sorted(wanted - facts.looks):
        yield f"no audit entry of the look at the number for {purpose}"


# ---- certificates ------------------------------------------------------------------------------------------------


def _certificates(expected: Expected, facts: Facts) -> Iterator[str]:
    for kind in ("authentication", "signature"):
        mine = [each for each in facts.certificates if each.ca == kind]
        has = kind == "authentication" or expected.may_sign
        live = sum(each.state in {"issued", "valid"} for each in mine)
        yield from _differ(f"live {kind} certificates", live, int(has and not expected.abolished))
        if not expected.abolished:
            yield from _differ(f"{kind} certificates not yet usable", sum(each.state == "issued" for each in mine), 0)
        reasons = Counter(each.reason for each in mine if each.state == "revoked")
        reasons.pop("unspecified", None)  # issued for a card write that broke: never on a chip
        yield from _differ(f"revoked {kind} certificates", dict(reasons), _reasons(kind, expected) if has else {})
    for certificate in facts.certificates:
        if certificate.state not in UNSIGNED:
            yield from _certificate(certificate, in_part=(certificate.ca, certificate.serial) in facts.in_parts)


def _reasons(kind: str, expected: Expected) -> dict[str, int]:
    wanted = {
        "affiliation_changed": expected.moves if kind == "signature" else 0,
        "certificate_hold": expected.suspensions,
        "cessation_of_operation": int(expected.abolished),
    }
    if expected.abolished:  # a held certificate is revoked for good with the card
        wanted["cessation_of_operation"] += wanted.pop("certificate_hold")
    return {reason: count for reason, count in wanted.items() if count}


def _certificate(certificate: Certificate, *, in_part: bool) -> Iterator[str]:
    name = f"{certificate.ca} certificate {certificate.serial}"
    leaf = x509.load_der_x509_certificate(certificate.der)
    yield from _differ(f"serial in the {name}", leaf.serial_number, certificate.serial)
    # What was signed is in the certificate; an issue in bulk does not keep it twice.
    if certificate.tbs != (b"" if in_part else leaf.tbs_certificate_bytes):
        yield f"{name}: what was signed is not what was intended"
    if (certificate.state == "revoked") != (certificate.revoked_ms is not None and certificate.reason != ""):
        yield f"{name}: {certificate.state}, with reason {certificate.reason!r}"


def _key_pairs(_expected: Expected, facts: Facts) -> Iterator[str]:
    """Each pair serves one certificate, and is destroyed once its chip has it."""
    pairs = {pair.key_pair_id: pair for pair in facts.key_pairs}
    uses = {use.key_pair_id: (use.ca, use.serial) for use in facts.key_uses}
    used = Counter(certificate.key_pair_id for certificate in facts.certificates)
    yield from (f"key pair {pair} serves {count} certificates" for pair, count in used.items() if count > 1)
    for certificate in facts.certificates:
        pair = pairs.get(certificate.key_pair_id)
        name = f"key pair {certificate.key_pair_id}"
        if pair is None:
            yield f"{name} is not in the register"
            continue
        if pair.state != "destroyed" or pair.wrapped is not None:
            yield f"{name} is {pair.state}, not destroyed"
        yield from _differ(f"{name} was used for", uses.get(pair.key_pair_id), (certificate.ca, certificate.serial))
        if certificate.der and _public_key(certificate.der) != pair.public_key:
            yield f"{name} is not the key in the {certificate.ca} certificate {certificate.serial}"


def _public_key(der: bytes) -> bytes:
    key = x509.load_der_x509_certificate(der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# ---- the chip ----------------------------------------------------------------------------------------------------


def _chip(expected: Expected, facts: Facts, card: Card) -> Iterator[str]:
    chip = facts.chip
    if chip is None:
        yield f"the chip cannot be read: {facts.chip_error or 'no reader'}"
        return
    yield from _differ("card id on the chip", chip.card_id, card.card_id)
    yield from _differ("life state on the chip", chip.life, "terminated" if expected.abolished else "in_use")
    yield from _differ("last card write on the chip", chip.write_id, card.write_id)
    if chip.staged:
        yield "the chip holds staged changes"
    finished = {write.write_id: write.digest for write in facts.writes if write.state == "finished"}
    if finished.get(chip.write_id) != chip.digest:
        yield "the digest on the chip is not the journal's"
    yield from _differ("municipality on the chip", chip.municipality, expected.person.municipality[:5])
    yield from _chip_certificates(chip, facts)
    if not expected.abolished:
        yield from _chip_contents(expected, facts, chip)


def _chip_certificates(chip: Chip, facts: Facts) -> Iterator[str]:
    """What is on the chip is the newest of the register that a chip was given, and the chip has its key."""
    for kind, der in chip.certificates.items():
        newest = max(
            (each for each in facts.certificates if each.ca == kind and each.der and each.reason != "unspecified"),
            key=lambda each: each.serial,
            default=None,
        )
        if newest is None or newest.der != der:
            yield f"the {kind} certificate on the chip is not the register's"
    for kind, signature in chip.signatures.items():
        if not _signed(chip.certificates[kind], kind.encode(), signature):
            yield f"the {kind} key on the chip is not its certificate's"


def _signed(der: bytes, message: bytes, signature: bytes) -> bool:
    key = x509.load_der_x509_certificate(der).public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        key.verify(signature, message, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _chip_contents(expected: Expected, facts: Facts, chip: Chip) -> Iterator[str]:
    person = expected.person
    text = chip.text
    if text is None:
        yield "the text applet was not read"
        return
    birth = person.birth_date.strftime("%Y%m%d")
    if (text.name, text.address, text.birth, text.sex) != (person.name, person.address, birth, SEX[person.sex]):
        yield "the text applet shows other particulars than the register"
    if text.number != expected.individual_number:
        yield "the individual number on the chip changed"
    for resident in facts.residents:
        if chip.resident_code != resident.resident_code:
            yield "the resident code on the chip is not the register's"
    wanted: set[CertificateKind] = {"authentication", "signature"} if expected.may_sign else {"authentication"}
    yield from _differ("keys that sign on the chip", sorted(chip.signatures), sorted(wanted))


def judge_numbers(expected: Sequence[Expected], facts: Sequence[Facts]) -> list[str]:
    """No two residents share a number, a blind index, a card or a key pair."""
    collections: dict[str, list[Hashable]] = {
        "individual number": [one.individual_number for one in expected],
        "blind index": [number.blind_index for one in facts for number in one.numbers],
        "resident code": [resident.resident_code for one in facts for resident in one.residents],
        "card id": [card.card_id for one in facts for card in one.cards],
        "key pair": [each.key_pair_id for one in facts for each in one.certificates],
        "certificate": [(each.ca, each.serial) for one in facts for each in one.certificates],
    }
    shared = [what for what, values in collections.items() if len(set(values)) < len(values)]
    return [f"a {what} belongs to two residents" for what in shared]
