"""Revocation lists: full, and one for each municipality. A list asked for holds every revocation committed before."""

import hashlib
from collections.abc import AsyncIterator
from typing import Final

from warifu.contract.authority import PublishList, RevocationList
from warifu.domain.certificates.records import ListRevision, PublishedList, Revocation
from warifu.domain.pki.names import point_of
from warifu.domain.pki.revocation import crl_tbs
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import Stale
from warifu.nodes.authority.signing import Signer
from warifu.nodes.base import MAX_DECISIONS, Call, KeepingNode
from warifu.ports.store import Change, Find, Get, Insert, Update

NEXT_UPDATE_MS: Final = 24 * 3_600_000
REFRESH_MS: Final = 12 * 3_600_000
PAGE: Final = 5_000


class Lists:
    """Builds and keeps the newest list of each scope."""

    def __init__(self, node: KeepingNode, signer: Signer) -> None:
        self.node = node
        self.signer = signer

    async def current(self, call: Call, request: PublishList) -> RevocationList:
        """The current list; built when a revocation or half a day has passed since the last."""
        key = (request.ca, request.municipality)
        scope: dict[str, object] = {"ca": request.ca}
        if request.municipality:
            scope["municipality"] = request.municipality
        for _ in range(MAX_DECISIONS):
            # Revisions are read before the entries: one entry too many costs a rebuild, one too few never happens.
            snapshot = await self.node.store.read(Get(PublishedList, key), Find(ListRevision, scope, PAGE))
            published = snapshot.one(0, PublishedList)
            basis = _basis(snapshot.all(1, ListRevision))
            if published and published.basis == basis and _is_fresh(call, published):
                return _answer(request, published)
            fresh = await self._built(call, request, published, basis, scope)
            try:
                await self.node.store.commit(
                    Change(now_ms=call.now_ms, writes=(Update(fresh) if published else Insert(fresh),))
                )
            except Stale:
                continue  # another built it meanwhile
            return _answer(request, fresh)
        raise Stale("the list keeps changing")

    async def _built(
        self, call: Call, request: PublishList, before: PublishedList | None, basis: str, scope: dict[str, object]
    ) -> PublishedList:
        generation = await self.signer.newest(request.ca)
        number = before.number + 1 if before else 1
        this_update_ms = call.now_ms // 1000 * 1000
        tbs = crl_tbs(
            self.signer.authority(generation),
            number=number,
            this_update_ms=this_update_ms,
            next_update_ms=this_update_ms + NEXT_UPDATE_MS,
            entries=[entry async for entry in self._entries(call, scope)],
            point=point_of(request.municipality) if request.municipality else None,
        )
        return PublishedList(
            version=before.version if before else 0,
            ca=request.ca,
            municipality=request.municipality,
            number=number,
            basis=basis,
            this_update_ms=this_update_ms,
            der=await self.signer.sign(generation, tbs, self.node.remaining_ms(call)),
        )

    async def _entries(self, call: Call, scope: dict[str, object]) -> AsyncIterator[bytes]:
        """Entries in the order of serials, page by page; expired certificates leave the list."""
        today = jst_date(call.now_ms)
        after: tuple[object, ...] | None = None
        while True:
            page = (await self.node.store.read(Find(Revocation, scope, PAGE, after))).all(0, Revocation)
            for revocation in page:
                if revocation.not_after >= today:
                    yield revocation.entry
            if len(page) < PAGE:
                return
            after = (page[-1].ca, page[-1].serial)


def _is_fresh(call: Call, published: PublishedList) -> bool:
    """A list from the future (the clock was set back) is not current either: relying parties refuse it."""
    return 0 <= call.now_ms - published.this_update_ms < REFRESH_MS


def _answer(request: PublishList, published: PublishedList) -> RevocationList:
    return RevocationList(number=published.number, der=published.der if request.with_der else b"")


def _basis(revisions: tuple[ListRevision, ...]) -> str:
    text = ";".join(f"{each.municipality}={each.version}" for each in revisions)
    return hashlib.sha256(text.encode()).hexdigest()
