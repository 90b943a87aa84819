"""The status of many certificates at once, for the front: serial numbers in, statuses out, nothing personal."""

from typing import Final

from warifu.contract.authority import AskStatuses, Statuses
from warifu.domain.certificates.records import Certificate
from warifu.domain.certificates.statuses import status_of
from warifu.nodes.base import Call, KeepingNode, expect
from warifu.ports.store import Get

AT_ONCE: Final = 64
"""Reads of one round trip."""


class StatusService:
    """Answers for the reception.

    Args:
        node: whose store is the register.
    """

    def __init__(self, node: KeepingNode) -> None:
        self.node = node

    async def statuses(self, call: Call) -> Statuses:
        """Each as the register has it at an instant after the request came."""
        request = expect(call.request, AskStatuses)
        found: list[Certificate | None] = []
        for start in range(0, len(request.serials), AT_ONCE):
            self.node.remaining_ms(call)
            page = request.serials[start : start + AT_ONCE]
            snapshot = await self.node.store.read(*[Get(Certificate, (request.ca, serial)) for serial in page])
            found += [snapshot.one(position, Certificate) for position in range(len(page))]
        pairs = zip(request.serials, found, strict=True)
        return Statuses(statuses=tuple(status_of(serial, certificate) for serial, certificate in pairs))
