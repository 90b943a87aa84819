"""What the nodes at work issue, before verifiers that are not ours: pkilint, OpenSSL, GnuTLS, pyHanko; and our own.

A whole authority over PostgreSQL and a responder over HTTP, of two generations of keys with a ceremony between them: on
the software store under the test service's names, on SoftHSM under the real service's.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import asn1crypto.ocsp
import asn1crypto.x509
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import asdict
from outside_verifiers import (
    TOLD,
    TOLD_OF_ROOTS,
    answer_findings,
    certificate_findings,
    list_findings,
    pair_findings,
    run,
)
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import RevokedError
from pyhanko_certvalidator.policy_decl import PKIXValidationParams

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.hsm.process import ProcessHsmFactory
from warifu.adapters.net.http import serve_http
from warifu.adapters.net.local import LocalTransport
from warifu.adapters.net.relying import relying_edge
from warifu.adapters.shelf import MemoryShelf
from warifu.adapters.store.postgres import open_postgres
from warifu.contract.authority import (
    AskAuthorities,
    AskCertificates,
    Authorities,
    BatchIssued,
    Certificates,
    EnrolHolder,
    GenerationMade,
    HolderApproval,
    IssueBatch,
    IssueCertificates,
    MakeGeneration,
    PublishList,
    RevocationList,
    RevokeCertificates,
)
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.errors import open_reply
from warifu.contract.message import Answer, Done, Request
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.ceremony import generation_statement
from warifu.domain.pki.names import REAL_NAMES, WARIFU_TEST, Naming
from warifu.domain.pki.profile import Profile
from warifu.kernel.ids import card_id, new_ulid
from warifu.lab.rigs import pki_load
from warifu.lab.rigs.database import scratch_database
from warifu.lab.rigs.pki_rig import DeviceKind, Quiet, authority_rig, device, ended
from warifu.nodes.authority.node import RECORDS, Authority
from warifu.nodes.authority.signing import KINDS
from warifu.nodes.base import World
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.responder import Responder
from warifu.verify import Anchors, CertificateRevoked, open_list, verify_certificate, verify_response

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

A = TypeVar("A", bound=Answer)
HOLDERS: Final = {name: Ed25519PrivateKey.from_private_bytes(name[:1].encode() * 32) for name in ("alice", "bob")}
HOUSES: Final[tuple[tuple[DeviceKind, Naming], ...]] = (("software", WARIFU_TEST), ("softhsm", REAL_NAMES))
REVOKED: Final = frozenset({2, 4, 12})
"""Cards whose certificates are revoked."""
EMPTY: Final = "472018"
"""A municipality without certificates."""


class Leaf(NamedTuple):
    kind: CertificateKind
    generation: int
    serial: int
    municipality: str
    revoked: bool
    der: bytes

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.serial}"


class Issued(NamedTuple):
    """All that came of it."""

    folder: Path
    naming: Naming
    roots: dict[tuple[CertificateKind, int], bytes]
    leaves: list[Leaf]
    lists: dict[tuple[CertificateKind, int, str], bytes]
    ceremonies: list[GenerationMade]
    said: dict[tuple[str, str], tuple[int, str]]
    """What ``openssl ocsp`` and ``ocsptool`` said, by program and leaf."""

    def root(self, leaf: Leaf) -> Path:
        return self.folder / f"{leaf.kind}-root-{leaf.generation}.pem"

    def crl(self, leaf: Leaf, place: str = "") -> Path:
        return self.folder / f"{leaf.kind}-list-{leaf.generation}-{place}.pem"

    def answer(self, leaf: Leaf) -> bytes:
        return (self.folder / f"{leaf.name}.ors").read_bytes()

    @property
    def anchors(self) -> Anchors:
        return Anchors.of(self.roots.values())


class House:
    """An authority and a responder at work."""

    def __init__(self, node: Authority, url: str) -> None:
        self.node = node
        self.url = url

    async def ask(self, request: Request, answer: type[A], sender: str = "driver") -> A:
        operation_id = new_ulid(self.node.world.clock.now_ms(), self.node.world.entropy.random_bytes(10))
        envelope = Envelope(
            name=request.NAME,
            operation_id=operation_id,
            step="test",
            sender=sender,
            remaining_ms=60_000,
            body=encode(request),
        )
        return open_reply(await self.node.handle(envelope), answer)


@asynccontextmanager
async def house(folder: Path, url: str, kind: DeviceKind, naming: Naming) -> AsyncIterator[House]:
    config, profile, shelf = device(folder / "device", kind), Profile(naming=naming), MemoryShelf()
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(authority_rig(url, config, shelf=shelf, profile=profile))
        transport = LocalTransport({"authority": lambda envelope, _: node.handle(envelope)}, "responder-1", Quiet())
        register = await stack.enter_async_context(open_postgres(url, Authority.KIND, RECORDS))
        world = World(
            name="responder-1", transport=transport, clock=SystemClock(), entropy=SystemEntropy(), log=Quiet()
        )
        pool = HsmPool(ProcessHsmFactory(config), "responder-1/hsm", 1)
        responder = Responder(world, register, pool, profile, shelf)
        running = asyncio.create_task(responder.run())
        stack.push_async_callback(ended, running)
        server = await serve_http(relying_edge(responder), "127.0.0.1", 0, log=Quiet())
        stack.push_async_callback(server.stop)
        yield House(node, f"http://127.0.0.1:{server.port}/ocsp")


async def issue_some(at: House, first: int) -> list[str]:
    """Five cards in bulk and one at a counter; their ids."""
    source = random.Random(first)  # noqa: S311 - people, not keys
    orders = tuple(pki_load.order(source, first + number) for number in range(6))
    batch = IssueBatch(batch_id=new_ulid(first, bytes(10)), position=0, orders=orders[:5])
    assert (await at.ask(batch, BatchIssued)).issued == 10
    last = {name: value for name, value in asdict(orders[5]).items() if name != "kinds"}
    await at.ask(IssueCertificates(kinds=KINDS, **last), Certificates, "issuance")
    return [each.card_id for each in orders]


async def hold_ceremony(at: House, kind: CertificateKind) -> GenerationMade:
    """A second generation, from now on."""
    now_ms = at.node.world.clock.now_ms()
    statement = generation_statement(kind, 2, now_ms)
    approvals = tuple(HolderApproval(holder=name, signature=key.sign(statement)) for name, key in HOLDERS.items())
    request = MakeGeneration(ca=kind, generation=2, active_from_ms=now_ms, approvals=approvals)
    return await at.ask(request, GenerationMade)


async def everything(folder: Path, url: str, kind: DeviceKind, naming: Naming) -> Issued:
    async with house(folder, url, kind, naming) as at:
        cards = await issue_some(at, 1)
        for name, key in HOLDERS.items():
            await at.ask(EnrolHolder(holder=name, public_key=key.public_key().public_bytes_raw(), approvals=()), Done)
        ceremonies = [await hold_ceremony(at, each) for each in KINDS]
        cards += await issue_some(at, 11)
        numbers = dict(zip(cards, (*range(1, 7), *range(11, 17)), strict=True))
        for card, number in numbers.items():
            if number in REVOKED:
                await at.ask(RevokeCertificates(card_id=card, event="key_compromise"), Certificates, "center")
        roots = dict[tuple[CertificateKind, int], bytes]()
        lists = dict[tuple[CertificateKind, int, str], bytes]()
        leaves = list[Leaf]()
        for ca in KINDS:
            found = await at.ask(AskAuthorities(ca=ca), Authorities)
            roots |= {(ca, number): der for number, der in zip(found.generations, found.certificates, strict=True)}
        for card, number in numbers.items():
            views = (await at.ask(AskCertificates(card_id=card, with_der=True), Certificates)).certificates
            leaves += [await leaf_of(at, each.der, each.kind, number) for each in views]
        places = {"", EMPTY} | {leaf.municipality for leaf in leaves}
        for (ca, generation), place in itertools.product(roots, sorted(places)):
            request = PublishList(ca=ca, generation=generation, municipality=place)
            lists[ca, generation, place] = (await at.ask(request, RevocationList, "responder-1")).der
        made = Issued(folder, naming, roots, leaves, lists, ceremonies, {})
        write_files(made)
        for leaf in leaves:
            made.said.update(await asyncio.to_thread(ocsp_programs, made, leaf, at.url))
        return made


async def leaf_of(at: House, der: bytes, kind: CertificateKind, number: int) -> Leaf:
    serial = x509.load_der_x509_certificate(der).serial_number
    rows = await at.node.issuer.of_card(card_id(number))
    row = next(each for each in rows if (each.ca, each.serial) == (kind, serial))
    return Leaf(kind, row.generation, serial, row.municipality, number in REVOKED, der)


def write_files(made: Issued) -> None:
    for (kind, generation), der in made.roots.items():
        pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        (made.folder / f"{kind}-root-{generation}.pem").write_bytes(pem)
    for (kind, generation, place), der in made.lists.items():
        pem = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
        (made.folder / f"{kind}-list-{generation}-{place}.pem").write_bytes(pem)
    for leaf in made.leaves:
        pem = x509.load_der_x509_certificate(leaf.der).public_bytes(Encoding.PEM)
        (made.folder / f"{leaf.name}.pem").write_bytes(pem)


def ocsp_programs(made: Issued, leaf: Leaf, url: str) -> dict[tuple[str, str], tuple[int, str]]:
    """Both programs ask over HTTP, each with a nonce of its own, and verify what comes."""
    root, end, answer = made.root(leaf), made.folder / f"{leaf.name}.pem", made.folder / f"{leaf.name}.ors"
    asked = ("-issuer", root, "-CAfile", root, "-cert", end, "-url", url, "-respout", answer)
    told = ("--load-issuer", root, "--load-trust", root, "--load-cert", end, "--nonce")
    return {
        ("openssl", leaf.name): run("openssl", "ocsp", *asked),
        ("ocsptool", leaf.name): run("ocsptool", f"--ask={url}", *told),
    }


@pytest.fixture(scope="module", params=HOUSES, ids=[f"{kind}-{naming.organization}" for kind, naming in HOUSES])
def issued(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issued]:
    kind, naming = request.param
    with scratch_database() as url:
        yield asyncio.run(everything(tmp_path_factory.mktemp(kind), url, kind, naming))


def responder_certificates(issued: Issued) -> dict[bytes, tuple[CertificateKind, int]]:
    """Each delegated responder's certificate that came with an answer, and whose it is."""
    found: dict[bytes, tuple[CertificateKind, int]] = {}
    for leaf in issued.leaves:
        parsed = asn1crypto.ocsp.OCSPResponse.load(issued.answer(leaf))
        found |= {each.dump(): (leaf.kind, leaf.generation) for each in parsed.basic_ocsp_response["certs"]}
    return found


# ---- what there is -----------------------------------------------------------------------------------------------


def test_both_generations_and_both_ways_of_issue_are_there(issued: Issued) -> None:
    assert {(leaf.kind, leaf.generation) for leaf in issued.leaves} == {(kind, n) for kind in KINDS for n in (1, 2)}
    assert len(issued.leaves) == 24
    assert sum(leaf.revoked for leaf in issued.leaves) == 2 * len(REVOKED)
    assert set(issued.roots) == {(kind, n) for kind in KINDS for n in (1, 2)}
    names = {x509.load_der_x509_certificate(der).subject.rfc4514_string() for der in issued.roots.values()}
    assert len(names) == 2
    assert all(f"O={issued.naming.organization}" in name for name in names)


def test_the_minutes_of_each_ceremony_are_signed_with_the_new_key(issued: Issued) -> None:
    for kind, made in zip(KINDS, issued.ceremonies, strict=True):
        assert made.der == issued.roots[kind, 2]
        key: Any = x509.load_der_x509_certificate(made.der).public_key()
        key.verify(made.signature, made.minutes, PKCS1v15(), SHA256())
        assert b"alice" in made.minutes
        assert b"bob" in made.minutes


# ---- pkilint -----------------------------------------------------------------------------------------------------


def test_pkilint_finds_nothing_that_is_not_told(issued: Issued) -> None:
    certificates = [*issued.roots.values(), *(leaf.der for leaf in issued.leaves), *responder_certificates(issued)]
    assert set().union(*map(certificate_findings, certificates)) == set(TOLD)
    assert set().union(*map(list_findings, issued.lists.values())) == set()
    assert set().union(*(answer_findings(issued.answer(leaf)) for leaf in issued.leaves)) == set()


def test_pkilint_finds_every_pair_of_issuer_and_subject_sound(issued: Issued) -> None:
    pairs = [(issued.roots[leaf.kind, leaf.generation], leaf.der) for leaf in issued.leaves]
    pairs += [(issued.roots[whose], der) for der, whose in responder_certificates(issued).items()]
    assert set().union(*(pair_findings(*each) for each in pairs)) == set()
    for root in issued.roots.values():
        assert pair_findings(root, root) == set(TOLD_OF_ROOTS)
    other = next(leaf for leaf in issued.leaves if leaf.generation == 1)
    assert pair_findings(issued.roots[other.kind, 2], other.der)


# ---- lists: OpenSSL, GnuTLS, pyHanko -----------------------------------------------------------------------------


def test_openssl_agrees_by_full_list_and_by_partition(issued: Issued) -> None:
    for leaf in issued.leaves:
        for place in ("", leaf.municipality):
            words = ("-CAfile", issued.root(leaf), "-CRLfile", issued.crl(leaf, place))
            status, said = run("openssl", "verify", "-crl_check", *words, issued.folder / f"{leaf.name}.pem")
            assert (status == 0) is not leaf.revoked, said
            assert ("certificate revoked" in said) is leaf.revoked


def test_openssl_takes_no_other_municipalitys_and_no_other_generations_list(issued: Issued) -> None:
    leaf = next(each for each in issued.leaves if not each.revoked and each.generation == 1)
    end = issued.folder / f"{leaf.name}.pem"
    for crl in (issued.crl(leaf, EMPTY), issued.crl(leaf._replace(generation=2))):
        status, said = run("openssl", "verify", "-crl_check", "-CAfile", issued.root(leaf), "-CRLfile", crl, end)
        assert status != 0, said


def test_certtool_verifies_certificates_and_lists(issued: Issued) -> None:
    for leaf in issued.leaves:
        words = ("--load-ca-certificate", issued.root(leaf), "--load-crl", issued.crl(leaf))
        status, said = run("certtool", "--verify", *words, "--infile", issued.folder / f"{leaf.name}.pem")
        assert (status == 0) is not leaf.revoked, said
    for kind, generation, place in issued.lists:
        root = issued.folder / f"{kind}-root-{generation}.pem"
        crl = issued.folder / f"{kind}-list-{generation}-{place}.pem"
        status, said = run("certtool", "--verify-crl", "--load-ca-certificate", root, "--infile", crl)
        assert (status, "Verified" in said) == (0, True), said


@pytest.mark.parametrize("partition", [False, True])
def test_pyhanko_establishes_path_policy_usage_and_status(issued: Issued, partition: bool) -> None:  # noqa: FBT001
    for leaf in issued.leaves:
        context = ValidationContext(
            trust_roots=[asn1crypto.x509.Certificate.load(der) for der in issued.roots.values()],
            crls=[issued.lists[leaf.kind, leaf.generation, leaf.municipality if partition else ""]],
            moment=datetime.now(UTC),
            revocation_mode="require",
        )
        policy = frozenset({issued.naming.policy(leaf.kind)})
        validator = CertificateValidator(
            asn1crypto.x509.Certificate.load(leaf.der),
            validation_context=context,
            pkix_params=PKIXValidationParams(user_initial_policy_set=policy, initial_explicit_policy=True),
        )
        usages = {"digital_signature"} | ({"non_repudiation"} if leaf.kind == "signature" else set())
        if leaf.revoked:
            with pytest.raises(RevokedError):
                asyncio.run(validator.async_validate_usage(usages))
        else:
            asyncio.run(validator.async_validate_usage(usages))


# ---- answers: OpenSSL, GnuTLS ------------------------------------------------------------------------------------


def test_openssl_and_ocsptool_ask_and_believe_the_answers(issued: Issued) -> None:
    for leaf in issued.leaves:
        status, said = issued.said["openssl", leaf.name]
        assert status == 0, said
        assert "Response verify OK" in said
        assert f"{leaf.name}.pem: {'revoked' if leaf.revoked else 'good'}" in said
        status, said = issued.said["ocsptool", leaf.name]
        assert "Verifying OCSP Response: Success" in said
        assert f"Certificate Status: {'revoked' if leaf.revoked else 'good'}" in said


# ---- our own -----------------------------------------------------------------------------------------------------


def test_our_own_library_agrees(issued: Issued) -> None:
    now_ms = SystemClock().now_ms()
    for leaf in issued.leaves:
        verify_certificate(leaf.der, issued.anchors, at_ms=now_ms, kind=leaf.kind, naming=issued.naming)
        crl = open_list(issued.lists[leaf.kind, leaf.generation, leaf.municipality], issued.anchors, at_ms=now_ms)
        if leaf.revoked:
            with pytest.raises(CertificateRevoked):
                crl.check(leaf.der)
            with pytest.raises(CertificateRevoked):
                verify_response(issued.answer(leaf), leaf.der, issued.anchors, at_ms=now_ms)
        else:
            crl.check(leaf.der)
            verify_response(issued.answer(leaf), leaf.der, issued.anchors, at_ms=now_ms)
