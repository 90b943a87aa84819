"""Revocation lists: full, and one for each municipality. A list asked for holds every revocation committed before.

A list is written onto the shelf piece by piece as the database joins its entries, hashed on the way, and signed at the
end; then its row says that it is the newest. So no list is ever held in memory, half a list has no name, and a number
is given out by the database: it rises across restarts and whoever publishes.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final

from warifu.contract.authority import PublishList, RevocationList
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.records import CaGeneration, ListRevision, PublishedList, Revocation
from warifu.domain.pki.lint_lists import lint_entries, lint_list
from warifu.domain.pki.names import point_of
from warifu.domain.pki.profile import signature_part
from warifu.domain.pki.revocation import ListOrder, list_frame, list_opening, oldest_listed
from warifu.kernel.errors import NotFound, Stale
from warifu.nodes.authority.signing import Signer
from warifu.nodes.base import MAX_DECISIONS, Call, KeepingNode
from warifu.ports.hsm import SignDigestInfo
from warifu.ports.shelf import Shelf
from warifu.ports.store import Change, Find, Get, Insert, Join, Joined, Update

NEXT_UPDATE_MS: Final = 24 * 3_600_000
REFRESH_MS: Final = 12 * 3_600_000
REVISIONS: Final = 5_000
"""More than there are municipalities."""
_DIGEST_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")
"""DER of DigestInfo for SHA-256 (RFC 8017 section 9.2), before the digest."""
_NUMBER_DIGITS: Final = 12


class Lists:
    """Builds and keeps the newest list of each scope: a generation of a CA, and all of it or one municipality."""

    def __init__(self, node: KeepingNode, signer: Signer, shelf: Shelf) -> None:
        self.node = node
        self.signer = signer
        self.shelf = shelf
        self._building: dict[tuple[str, int, str], asyncio.Lock] = {}

    async def current(self, call: Call, request: PublishList) -> RevocationList:
        """The current list; built when a revocation or half a day has passed since the last.

        Who asks while it is being built waits, looks again, and shares the next one with all who wait.

        Raises:
            NotFound: the CA has no such generation, or there is no such municipality.
        """
        if request.municipality:
            point_of(request.municipality)
        generation = await generation_of(self.signer, request.ca, request.generation)
        key = (request.ca, generation.generation, request.municipality)
        async with self._building.setdefault(key, asyncio.Lock()):
            published = await self._newest(call, request, generation)
        der = b""
        if request.with_der:
            der = await self.shelf.get(published.name) or b""
            if not der:
                raise Stale("the list was replaced meanwhile")
        return RevocationList(number=published.number, generation=published.generation, der=der)

    async def _newest(self, call: Call, request: PublishList, generation: CaGeneration) -> PublishedList:
        key = (request.ca, generation.generation, request.municipality)
        scope: dict[str, object] = {"ca": request.ca}
        if request.municipality:
            scope["municipality"] = request.municipality
        for _ in range(MAX_DECISIONS):
            # Revisions are read before the entries: one entry too many costs a rebuild, one too few never happens.
            snapshot = await self.node.store.read(Get(PublishedList, key), Find(ListRevision, scope, REVISIONS))
            published = snapshot.one(0, PublishedList)
            basis = _basis(snapshot.all(1, ListRevision))
            now_ms = self.node.world.clock.now_ms()
            current = published and published.basis == basis and _is_fresh(now_ms, published)
            if published and current and await self.shelf.has(published.name):
                return published
            fresh = await self._built(call, request, generation, published, basis)
            try:
                write = Update(fresh) if published else Insert(fresh)
                await self.node.store.commit(Change(now_ms=now_ms, writes=(write,)))
            except Stale:
                await self.shelf.remove(fresh.name)
                continue  # another built it meanwhile
            await self._clear(fresh)
            return fresh
        raise Stale("the list keeps changing")

    async def _built(
        self,
        call: Call,
        request: PublishList,
        generation: CaGeneration,
        before: PublishedList | None,
        basis: str,
    ) -> PublishedList:
        number = before.number + 1 if before else 1
        now_ms = self.node.world.clock.now_ms()
        issued_ms = now_ms // 1000 * 1000
        order = ListOrder(
            number=number,
            this_update_ms=issued_ms,
            next_update_ms=issued_ms + NEXT_UPDATE_MS,
            point=point_of(request.municipality) if request.municipality else None,
        )
        where: dict[str, object] = {"ca": request.ca, "generation": generation.generation}
        if request.municipality:
            where["municipality"] = request.municipality
        cut = "" if request.municipality else "municipality"
        entries = Join(Revocation, "entry", where, pieces=cut, at_least=("not_after", oldest_listed(now_ms)))
        name = _name(request, generation, number, self.node.world.entropy.random_bytes(4))
        async with self.node.store.join(entries) as joined:
            await self.shelf.put(name, self._pieces(call, generation, order, joined))
        return PublishedList(
            version=before.version if before else 0,
            ca=request.ca,
            generation=generation.generation,
            municipality=request.municipality,
            number=number,
            basis=basis,
            this_update_ms=issued_ms,
            name=name,
        )

    async def _pieces(
        self, call: Call, generation: CaGeneration, order: ListOrder, joined: Joined
    ) -> AsyncIterator[bytes]:
        """The whole list: what is signed, hashed as it passes, and the signature over it."""
        authority = self.signer.authority(generation)
        frame = list_frame(authority, order, joined.size)
        yield list_opening(frame, joined.size)
        digest, size = hashlib.sha256(frame.head), 0
        yield frame.head
        async for piece in joined.pieces:
            lint_entries(piece)
            digest.update(piece)
            size += len(piece)
            yield piece
        digest.update(frame.tail)
        lint_list(authority, order, frame, size)
        command = SignDigestInfo(generation.key_label, _DIGEST_INFO + digest.digest())
        signature = await self.signer.hsm.bytes_of(command, self.node.remaining_ms(call))
        yield frame.tail + signature_part(signature)

    async def _clear(self, newest: PublishedList) -> None:
        """Earlier editions leave; a reader on the way to one reads the row again."""
        folder, _, own = newest.name.partition("/")
        for name in await self.shelf.names(folder):
            if name.partition("/")[2][:_NUMBER_DIGITS] < own[:_NUMBER_DIGITS]:
                await self.shelf.remove(name)


async def generation_of(signer: Signer, ca: CertificateKind, number: int) -> CaGeneration:
    """A generation of a CA's key by its number; 0 is the newest. ``NotFound`` when there is none."""
    if not number:
        return await signer.newest(ca)
    for each in await signer.generations(ca):
        if each.generation == number:
            return each
    raise NotFound(f"generation {number} of the {ca} authority")


def _name(request: PublishList, generation: CaGeneration, number: int, token: bytes) -> str:
    """Numbers of one scope in their order; the token keeps two builders of one number apart."""
    folder = f"{request.ca}-{generation.generation}-{request.municipality or 'full'}"
    return f"{folder}/{number:0{_NUMBER_DIGITS}}-{token.hex()}.crl"


def _is_fresh(now_ms: int, published: PublishedList) -> bool:
    """A list from the future (the clock was set back) is not current either: relying parties refuse it."""
    return 0 <= now_ms - published.this_update_ms < REFRESH_MS


def _basis(revisions: tuple[ListRevision, ...]) -> str:
    text = ";".join(f"{each.municipality}={each.version}" for each in revisions)
    return hashlib.sha256(text.encode()).hexdigest()
