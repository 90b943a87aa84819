"""What is known of a certificate of an authority that closed: looked up by serial number, audited."""

from warifu.contract.authority import AskImported, ImportedView
from warifu.domain.certificates.imported import ImportedAuthority, ImportedCertificate
from warifu.kernel.errors import NotFound
from warifu.nodes.base import Call, KeepingNode, expect
from warifu.ports.store import Get


class ImportedService:
    """Answers for the reception.

    Args:
        node: whose store has the records.
    """

    def __init__(self, node: KeepingNode) -> None:
        self._node = node

    async def look(self, call: Call) -> ImportedView:
        """One certificate. ``NotFound`` when it is not here, or the import of its authority is not complete."""
        request = expect(call.request, AskImported)
        snapshot = await self._node.store.read(
            Get(ImportedAuthority, (request.authority,)), Get(ImportedCertificate, (request.authority, request.serial))
        )
        authority, found = snapshot.one(0, ImportedAuthority), snapshot.one(1, ImportedCertificate)
        name = f"imported:{request.authority}:{request.serial}"
        await self._node.look(call, self._node.asked(call).audit("certificate.search", name, request.purpose))
        if authority is None or not authority.complete or found is None:
            raise NotFound(name)
        return ImportedView(
            authority=found.authority,
            name=authority.name,
            serial=found.serial,
            not_before=found.not_before,
            not_after=found.not_after,
            municipality=found.municipality,
            reason=found.reason,
            revoked_ms=found.revoked_ms,
        )
