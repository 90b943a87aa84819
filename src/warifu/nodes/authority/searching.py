"""Search of the register: one indexed read each, an audit entry before each answer."""

import hmac
from typing import Final

from warifu.contract.authority import FoundCertificates, SearchCertificates
from warifu.domain.certificates import searching
from warifu.domain.certificates.records import Certificate
from warifu.kernel.errors import Fault, Malformed
from warifu.nodes.base import Call, KeepingNode, expect
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.hsm import Mac
from warifu.ports.store import Get

NAMES_KEY: Final = "jpki-names"
"""AES-CMAC in JPKI's HSM; from it comes the key under which names are digested."""
_LABEL: Final = b"warifu name index 1"
_DIGEST_BYTES: Final = 16


class NameIndex:
    """Digests names under a key that JPKI's HSM makes and this process holds in memory: a batch digests thousands.

    Args:
        hsm: JPKI's.
    """

    def __init__(self, hsm: HsmPool) -> None:
        self._hsm = hsm
        self._key = b""

    async def load(self, deadline_ms: int) -> None:
        """Get the key from the HSM, unless it is here; raises as the pool does."""
        if not self._key:
            self._key = await self._hsm.bytes_of(Mac(NAMES_KEY, _LABEL), deadline_ms)

    def digest(self, name: str) -> bytes:
        """What stands for a name in the register; 16 bytes of HMAC-SHA-256. ``Fault`` before ``load``."""
        if not self._key:
            raise Fault("names are digested before the key is there")
        return hmac.digest(self._key, searching.comparable_name(name), "sha256")[:_DIGEST_BYTES]


class SearchService:
    """Answers for the reception.

    Args:
        node: whose store is the register.
        names: digests names.
    """

    def __init__(self, node: KeepingNode, names: NameIndex) -> None:
        self._node = node
        self._names = names

    async def search(self, call: Call) -> FoundCertificates:
        """A page of what was asked for; the audit trail has it, names as digests, before it is answered."""
        request = expect(call.request, SearchCertificates)
        if request.serial:
            certificates, asked = await self._by_serial(request)
        else:
            await self._names.load(self._node.remaining_ms(call))
            digest = self._names.digest(request.name) if request.name else b""
            find = searching.find_of(request, digest)
            certificates = (await self._node.store.read(find)).all(0, Certificate)
            words = (value.hex() if isinstance(value, bytes) else str(value) for value in find.where.values())
            asked = f"{'+'.join(find.where)}:{'+'.join(words)}"
        await self._node.look(call, self._node.asked(call).audit("certificate.search", asked, request.purpose))
        return searching.found(certificates, request.limit)

    async def _by_serial(self, request: SearchCertificates) -> tuple[tuple[Certificate, ...], str]:
        others = (request.resident_id, request.card_id, request.name, request.municipality, request.after_kind)
        if request.kind is None or any(others):
            raise Malformed("a serial number needs the kind of certificate, and nothing else")
        key = (request.kind, request.serial)
        found = (await self._node.store.read(Get(Certificate, key))).one(0, Certificate)
        return ((found,) if found else ()), f"serial:{request.kind}:{request.serial}"
