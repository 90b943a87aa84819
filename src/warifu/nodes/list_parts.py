"""Lists in parts that fit a message, for the front: one of millions of lines is tens of megabytes."""

import asyncio
import hashlib
from collections import OrderedDict
from typing import Final, Protocol

from warifu.contract.authority import AskListPart, ListPart
from warifu.contract.values import CertificateKind
from warifu.kernel.errors import Stale
from warifu.nodes.base import Call, expect

PART_BYTES: Final = 900_000
"""Of a list in one message (``contract.envelope.MAX_BODY_BYTES``)."""
KEPT: Final = 8
"""Lists being handed out; the one longest ago leaves."""


class HasLists(Protocol):
    """Whoever has current lists."""

    async def list(self, ca: CertificateKind, municipality: str, *, within_ms: int) -> bytes:
        """The current list, DER; asked for within so long."""


class ListParts:
    """Hands out lists part by part; all parts are of one list."""

    def __init__(self, source: HasLists) -> None:
        self._source = source
        self._handed: OrderedDict[bytes, bytes] = OrderedDict()

    async def part(self, call: Call) -> ListPart:
        """The first part of the current list, or a further one of the list it began with.

        Raises:
            Stale: that list is not kept any more: begin again.
        """
        request = expect(call.request, AskListPart)
        if request.offset == 0:
            within_ms = int((call.deadline - asyncio.get_running_loop().time()) * 1000)
            return self._begin(await self._source.list(request.ca, request.municipality, within_ms=within_ms))
        whole = self._handed.get(request.digest)
        if whole is None:
            raise Stale("that list is gone: ask for the current one")
        self._handed.move_to_end(request.digest)
        return _part(request.digest, whole, request.offset)

    def _begin(self, whole: bytes) -> ListPart:
        digest = hashlib.sha256(whole).digest()
        if len(whole) > PART_BYTES:
            self._handed[digest] = whole
            while len(self._handed) > KEPT:
                self._handed.popitem(last=False)
        return _part(digest, whole, 0)


def _part(digest: bytes, whole: bytes, offset: int) -> ListPart:
    return ListPart(digest=digest, total=len(whole), data=whole[offset : offset + PART_BYTES])
