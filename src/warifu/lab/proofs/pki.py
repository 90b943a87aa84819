"""``lab prove pki-kills``: an authority at work is killed (SIGKILL) at a random instant, again and again.

A process of its own issues in bulk (several parts at once), revokes, publishes lists and refills the stock of key
pairs, over one PostgreSQL, one device and one shelf that all victims share. Whatever it signs it first writes, beside
the register, into a file: so even a certificate whose record was never finished is known here. After each kill the
register is examined from outside, every signature of the file must have its record, and every list on the shelf must
be whole, signed, and tell only of what was signed; numbers of published lists rise. The next victim takes up the
parts that the last one left unfinished; at the end one more finishes all, and each card has its certificates once.
"""

import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from warifu.adapters.hsm.config import HsmConfig
from warifu.adapters.shelf import FolderShelf
from warifu.contract.authority import IssueBatch, PublishList, RevokeCertificates
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.records import CaGeneration, Certificate, IssueBlock, PublishedList
from warifu.kernel.errors import Fault, WarifuError
from warifu.kernel.ids import card_id, new_ulid
from warifu.lab.proofs.catalog import Part, Violation
from warifu.lab.rigs import pki_load
from warifu.lab.rigs.database import scratch_database
from warifu.lab.rigs.pki_register import examine
from warifu.lab.rigs.pki_rig import authority_rig, device
from warifu.nodes.authority.node import Authority
from warifu.nodes.authority.signing import KINDS
from warifu.ports.crypto import KeyPair, SharedKey
from warifu.ports.store import Find

BATCH: Final = new_ulid(3, bytes(10))
CARDS: Final = 12
"""Of one part: small, so that kills fall between commits, not only into signing."""
BLOCK: Final = 8
AT_ONCE: Final = 3
LONGEST_S: Final = 0.4
"""After a victim says that it works, the kill falls within so long."""
_START_S: Final = 60.0
_SHELF: Final = "shelf"
_SIGNED: Final = "signed"


class NoiseCrypto:
    """Key pairs of the right form in no time: a refill, too, must be caught in the middle."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    async def generate_key_pair(self, kind: str) -> KeyPair:
        """Noise, with a public half of the right form."""
        del kind
        await asyncio.sleep(0.001)
        return KeyPair(private_key=self._source.randbytes(1217), public_key=pki_load.public_key(self._source))

    def agree(self, recipient: bytes, info: bytes) -> SharedKey:
        """Not needed here."""
        del recipient, info
        raise Fault("nothing is agreed here")


# ---- the victim --------------------------------------------------------------------------------------------------


def orders_of(position: int) -> IssueBatch:
    """The part at this place: the same whoever asks."""
    source = random.Random(f"{BATCH}/{position}")  # noqa: S311 - repeatable on purpose
    first = 1 + position * CARDS
    return IssueBatch(
        batch_id=BATCH,
        position=position,
        orders=tuple(pki_load.order(source, number) for number in range(first, first + CARDS)),
    )


def _victim(url: str, config: HsmConfig, folder: str, seed: int, told: Connection) -> None:
    asyncio.run(_work(url, config, Path(folder), seed, told))


async def _work(url: str, config: HsmConfig, folder: Path, seed: int, told: Connection) -> None:
    """Everything at once, until killed."""
    async with authority_rig(url, config, workers=1, shelf=FolderShelf(folder / _SHELF)) as node:
        node.pool.crypto = NoiseCrypto(random.Random(f"{seed}/{os.getpid()}/{time.time_ns()}"))  # noqa: S311
        _tell_signatures(node, folder / _SIGNED)
        for kind in KINDS:
            await node.signer.newest(kind)
        open_parts, newest = await _parts(node)
        positions = iter([*open_parts, *range(newest + 1, newest + 10_000)])
        told.send_bytes(b"at work")
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(_issue(node, positions))
            group.create_task(_publish(node, seed))
            group.create_task(_refill(node))


def _tell_signatures(node: Authority, path: Path) -> None:
    """Whatever is signed is in the file before anybody else has it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    real = node.signer.sign_many

    async def sign_many(generation: CaGeneration, texts: Sequence[bytes], deadline_ms: int) -> list[bytes]:
        signed = await real(generation, texts, deadline_ms)
        os.write(descriptor, b"".join(len(der).to_bytes(4, "big") + der for der in signed))
        return signed

    node.signer.sign_many = sign_many  # type: ignore[method-assign]


async def _parts(node: Authority) -> tuple[list[int], int]:
    """Parts that are not finished, and the newest there is."""
    blocks: list[IssueBlock] = []
    while True:
        after = (blocks[-1].batch_id, blocks[-1].position) if blocks else None
        page = (await node.store.read(Find(IssueBlock, {"batch_id": BATCH}, 1000, after))).all(0, IssueBlock)
        blocks += page
        if len(page) < 1000:  # noqa: PLR2004 - the page's limit
            break
    known = {block.position for block in blocks}
    newest = max(known, default=-1)
    unfinished = [block.position for block in blocks if block.state != "issued"]
    return sorted({*unfinished, *(set(range(newest)) - known)}), newest


async def _issue(node: Authority, positions: Iterator[int]) -> None:
    for position in positions:
        await ask(node, orders_of(position), f"part.{position}", "issuance")


async def _publish(node: Authority, seed: int) -> None:
    source = random.Random(f"{seed}/lists")  # noqa: S311 - repeatable on purpose
    for turn in range(10_000):
        number = source.randrange(1, 2_000)
        await ask(
            node, RevokeCertificates(card_id=card_id(number), event="suspension"), f"{seed}.revoke.{turn}", "center"
        )
        kind: CertificateKind = source.choice(KINDS)
        place = source.choice(("", *pki_load.PLACES))
        wanted = PublishList(ca=kind, municipality=place, with_der=False)
        await ask(node, wanted, f"{seed}.list.{turn}", "responder")


async def _refill(node: Authority) -> None:
    while True:
        await node.pool.make_block(BLOCK)


async def ask(node: Authority, request: Any, step: str, sender: str) -> None:  # noqa: ANN401 - any request
    """As another node asks; what may be tried again is left to the next turn."""
    envelope = Envelope(
        name=request.NAME,
        operation_id=BATCH,
        step=f"{step}.{time.time_ns()}",
        sender=sender,
        remaining_ms=pki_load.CALL_MS,
        body=encode(request),
    )
    await node.handle(envelope)


# ---- the judge ---------------------------------------------------------------------------------------------------


class Laboratory:
    """Runs victims and judges what they leave behind."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.config: HsmConfig = device(folder / "device", "software")
        self.read = 0
        self.signed: dict[tuple[str, int], bytes] = {}
        self.numbers: dict[str, tuple[int, str]] = {}
        self.seen: set[str] = set()
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__])

    def round(self, seed: int) -> tuple[list[str], dict[str, float]]:
        """Kill once; what is wrong, and what was seen."""
        self._kill(seed)
        return asyncio.run(self.judged())

    def _kill(self, seed: int) -> None:
        hear, tell = self.context.Pipe(duplex=False)
        arguments = (self.url, self.config, str(self.folder), seed, tell)
        victim = self.context.Process(target=_victim, args=arguments, daemon=True)
        victim.start()
        tell.close()
        try:
            if not hear.poll(_START_S):
                raise Fault("the victim does not start")
            with contextlib.suppress(EOFError):
                hear.recv_bytes()
            victim.join(random.Random(f"{seed}/instant").random() * LONGEST_S)  # noqa: S311 - repeatable on purpose
            if not victim.is_alive() or victim.pid is None:
                raise Fault("the victim ended by itself")
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
        finally:
            hear.close()
            victim.close()

    async def judged(self) -> tuple[list[str], dict[str, float]]:
        """What is wrong with what stands now."""
        examined = await examine(self.url)
        wrong = [f"{each.promise}: {each.count}, as {', '.join(each.examples)}" for each in examined.findings]
        async with authority_rig(self.url, self.config, workers=1, shelf=FolderShelf(self.folder / _SHELF)) as node:
            fresh = self._fresh_signatures(wrong)
            wrong += [text async for text in _without_record(node, fresh)]
            lists = await self._lists(node, wrong)
            await self._numbers(node, wrong)
            unfinished, _ = await _parts(node)
        notes = {
            "signatures": float(len(fresh)),
            "lists": float(lists),
            "kills that left a part unfinished": float(bool(unfinished)),
        }
        return wrong, notes

    def _fresh_signatures(self, wrong: list[str]) -> list[tuple[str, x509.Certificate, bytes]]:
        """What was signed since the last look; what the kill cut off in the file nobody has seen."""
        data = (self.folder / _SIGNED).read_bytes() if (self.folder / _SIGNED).exists() else b""
        fresh: list[tuple[str, x509.Certificate, bytes]] = []
        while len(data) >= self.read + 4:
            end = self.read + 4 + int.from_bytes(data[self.read : self.read + 4], "big")
            if end > len(data):
                os.truncate(self.folder / _SIGNED, self.read)
                break
            der = data[self.read + 4 : end]
            self.read = end
            certificate = x509.load_der_x509_certificate(der)
            kind = "signature" if "digital signature" in certificate.issuer.rfc4514_string() else "authentication"
            if self.signed.setdefault((kind, certificate.serial_number), der) != der:
                wrong.append(f"two certificates with serial {kind} {certificate.serial_number}")
            fresh.append((kind, certificate, der))
        return fresh

    async def _lists(self, node: Authority, wrong: list[str]) -> int:
        """Every list that is new on the shelf."""
        roots: dict[bytes, x509.Certificate] = {}
        count = 0
        for kind in KINDS:
            for generation in await node.signer.generations(kind):
                root = x509.load_der_x509_certificate(generation.der)
                roots[root.subject.public_bytes()] = root
        for path in sorted((self.folder / _SHELF).rglob("*")):
            if path.is_dir() or path.name in self.seen or not path.suffix.endswith("crl"):
                continue
            self.seen.add(path.name)
            count += 1
            wrong += [f"{path.name}: {text}" for text in self._about_list(path, roots)]
        return count

    async def _numbers(self, node: Authority, wrong: list[str]) -> None:
        """Of what is published (a kill may leave a finished file that nobody was told of): numbers rise, and stand."""
        for kind in KINDS:
            for row in (await node.store.read(Find(PublishedList, {"ca": kind}, 1000))).all(0, PublishedList):
                scope = f"{kind} {row.generation} {row.municipality or 'full'}"
                number, name = self.numbers.get(scope, (0, ""))
                if row.number < number or (row.number == number and row.name != name):
                    wrong.append(f"list {scope}: number {row.number} after {number}")
                if not (self.folder / _SHELF / row.name).is_file():
                    wrong.append(f"list {scope}: {row.name} is not on the shelf")
                self.numbers[scope] = (row.number, row.name)

    def _about_list(self, path: Path, roots: dict[bytes, x509.Certificate]) -> Iterator[str]:
        found = x509.load_der_x509_crl(path.read_bytes())
        root = roots[found.issuer.public_bytes()]
        root_key: Any = root.public_key()
        if not found.is_signature_valid(root_key):
            yield "not signed by the authority"
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        if number != int(path.name.partition("-")[0]):
            yield "its number is not its name's"
        kind = path.parent.name.partition("-")[0]
        if not {(kind, entry.serial_number) for entry in found} <= set(self.signed):
            yield "it tells of certificates that nobody signed"


async def _without_record(node: Authority, fresh: Sequence[tuple[str, x509.Certificate, bytes]]) -> Any:  # noqa: ANN401 - an async generator
    """Certificates that were signed and of which the register knows nothing, or something else."""
    for kind, certificate, der in fresh:
        found = await node.store.read(Find(Certificate, {"ca": kind, "serial": certificate.serial_number}))
        row = next(iter(found.all(0, Certificate)), None)
        if row is None or (row.der or row.tbs) not in (der, certificate.tbs_certificate_bytes):
            yield f"a certificate without its record: {kind} {certificate.serial_number}"


def run(count: int, first: int = 0) -> Iterator[Part]:
    """Prove it with ``count`` kills from seed ``first`` on."""
    with tempfile.TemporaryDirectory(prefix="warifu-pki-kills-") as name, scratch_database() as url:
        laboratory = Laboratory(Path(name), url)
        for at in range(count):
            wrong, notes = laboratory.round(first + at)
            yield Part(1, tuple(Violation(first + at, text) for text in wrong), notes)
        ended = asyncio.run(finished(laboratory))
        yield Part(0, tuple(Violation(first + count, text) for text in ended))


async def finished(laboratory: Laboratory) -> list[str]:
    """Finish every part; then each card has its certificates, and nothing is half done."""
    shelf = FolderShelf(laboratory.folder / _SHELF)
    async with authority_rig(laboratory.url, laboratory.config, workers=1, shelf=shelf) as node:
        node.pool.crypto = NoiseCrypto(random.Random(os.urandom(8)))  # noqa: S311 - noise
        _tell_signatures(node, laboratory.folder / _SIGNED)
        wrong: list[str] = []
        unfinished, newest = await _parts(node)
        for position in unfinished:
            try:
                await ask(node, orders_of(position), f"part.{position}", "issuance")
            except WarifuError as error:
                wrong.append(f"part {position} cannot be finished: {error.code}")
        left, _ = await _parts(node)
        wrong += [f"part {position} is not finished" for position in left]
        for position in range(newest + 1):
            for order in orders_of(position).orders:
                rows = (await node.store.read(Find(Certificate, {"card_id": order.card_id}))).all(0, Certificate)
                kinds = sorted(row.ca for row in rows if row.state in {"issued", "revoked"})
                if kinds != ["authentication", "signature"] and not any(row.state == "abandoned" for row in rows):
                    wrong.append(f"card {order.card_id} has {', '.join(kinds) or 'nothing'}")
        return wrong + (await laboratory.judged())[0]
