"""Revoking many certificates by serial number: a compromised batch of keys, an error in records, a compromised CA key.

In small commits, each of them whole: what is acknowledged is revoked everywhere at once, and a request that broke off
goes on where it was when it comes again.
"""

from collections.abc import Sequence
from typing import Final

from warifu.contract.authority import RevokeSerials, Withdrawn
from warifu.contract.values import CertificateKind
from warifu.domain.certificates import rules
from warifu.domain.certificates.records import Certificate, ListRevision, Revocation, StoredKeyPair
from warifu.domain.certificates.rules import UNSIGNED, Register
from warifu.domain.pki.revocation import consequence
from warifu.kernel.errors import Stale
from warifu.nodes.base import MAX_DECISIONS, Call, KeepingNode, expect
from warifu.ports.store import Change, Get

AT_ONCE: Final = 16
"""Certificates of one commit: with their lines, key pairs and lists they fit one round trip's reads."""


class MassRevocation:
    """Answers for the reception.

    Args:
        node: whose store is the register.
    """

    def __init__(self, node: KeepingNode) -> None:
        self.node = node

    async def revoke(self, call: Call) -> Withdrawn:
        """Revoke what is named; once answered, the same request gets the same answer."""
        request = expect(call.request, RevokeSerials)
        earlier = await self.node.answered(call, Withdrawn)
        if earlier is not None:
            return earlier
        serials = sorted(set(request.serials))
        signed: set[int] = set()
        for start in range(0, len(serials), AT_ONCE):
            self.node.remaining_ms(call)
            signed |= await self._some(call, request, serials[start : start + AT_ONCE])
        unknown = tuple(serial for serial in serials if serial not in signed)
        return await self.node.remember(call, Withdrawn(revoked=len(signed), unknown=unknown), Withdrawn)

    async def _some(self, call: Call, request: RevokeSerials, serials: Sequence[int]) -> set[int]:
        """One commit; the serial numbers of certificates that are revoked now."""
        for _ in range(MAX_DECISIONS):
            register = await self._register(request.ca, serials)
            reason = consequence(request.event).reason
            decision = rules.revoke_named(register, reason, self.node.asked(call))
            if decision.writes:
                change = Change(now_ms=call.now_ms, writes=decision.writes, journal=decision.journal)
                try:
                    await self.node.store.commit(change)
                except Stale:
                    continue
            return {each.serial for each in register.certificates if each.state not in UNSIGNED}
        raise Stale("certificates keep changing")

    async def _register(self, ca: CertificateKind, serials: Sequence[int]) -> Register:
        """What the rule sees. A record that moves between the two reads makes the commit fail."""
        snapshot = await self.node.store.read(*[Get(Certificate, (ca, serial)) for serial in serials])
        found = [each for position in range(len(serials)) for each in snapshot.all(position, Certificate)]
        places = sorted({each.municipality for each in found})
        count = len(found)
        rest = await self.node.store.read(
            *[Get(Revocation, (ca, each.serial)) for each in found],
            *[Get(StoredKeyPair, (each.key_pair_id,)) for each in found],
            *[Get(ListRevision, (ca, place)) for place in places],
        )
        return Register(
            certificates=tuple(found),
            revocations=tuple(row for n in range(count) for row in rest.all(n, Revocation)),
            key_pairs=tuple(row for n in range(count, 2 * count) for row in rest.all(n, StoredKeyPair)),
            revisions=tuple(
                row for n in range(2 * count, 2 * count + len(places)) for row in rest.all(n, ListRevision)
            ),
        )
