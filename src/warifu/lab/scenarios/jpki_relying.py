"""Who asks about certificates in the ``jpki`` scenario: verifiers at the front, relying parties at the responder.

What was revoked before somebody asked is answered revoked, and is on the list; what was never issued is unknown.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from cryptography.x509 import CRLNumber, load_der_x509_crl
from cryptography.x509 import ocsp as library
from msgspec import Struct

from warifu.adapters.store.memory import MemoryStore
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.records import CaGeneration
from warifu.domain.pki import ocsp
from warifu.domain.pki.profile import Authority as PkiAuthority
from warifu.domain.pki.profile import Profile
from warifu.kernel.errors import Refused
from warifu.lab.scenarios.jpki_evening import KINDS, JpkiEvening
from warifu.lab.scenarios.nation import HERE, THERE
from warifu.lab.simulation.inside import inside
from warifu.lab.simulation.keys import EPOCH_MS, NOT_DEALT, fixture_rsa
from warifu.nodes import front, responder
from warifu.nodes.authority import lists
from warifu.nodes.front import Checked, Credential, Front
from warifu.nodes.responder import Responder

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

VERIFIERS: Final[dict[str, CertificateKind]] = {"bank": "authentication", "court": "signature"}
ALL_MS: Final = 2_000
"""Within this time a verifier asks once more."""
TIMES: Final = 3
LOOK_MS: Final = 10
"""What a look at the register takes, more or less."""
PAIRS: Final = 3
LAST: Final = 6
"""Of a CA, as the responder ends."""
STRANGE_TIMES: Final = 6
STRANGERS: Final = 2
"""Who ask about certificates of an authority that nobody here knows."""
NEVER_ISSUED: Final = 2_000
"""Numbers behind the last."""
AGED_MS: Final = 5_000
AGED_TIMES: Final = 6
OCSP_TIME_MS: Final = 1_000
"""Answers tell whole seconds."""
LIST_TIME_MS: Final = 1_000
"""Lists tell whole seconds."""
RENEWED_MS: Final = 2_000
"""What renewing takes, when all is well."""
PATIENCE_MS: Final = (30, 600, 15_000)
CALM_MS: Final = 60_000
FRONT: Final = "front-1"
RESPONDER: Final = "responder-1"

Ask = Callable[[str, CertificateKind], Awaitable[bool]]
"""Of a verifier's name and a kind: whether it was answered."""


async def ocsp_answer(world: "World", request: bytes, patience_ms: int) -> library.OCSPResponse | None:
    """What the responder says to a request in DER; None when nothing came of it in so many milliseconds."""
    machine = world.machines[RESPONDER]
    der = await inside(world, machine, Responder, lambda node: node.answer(request), patience_ms)
    return library.load_der_ocsp_response(der) if isinstance(der, bytes) else None


class Asked(Struct, frozen=True):
    """What had been revoked as somebody was about to ask."""

    revoked: frozenset[tuple[str, int]]
    for_good: frozenset[tuple[str, int]]


class Relying:
    """All of them.

    Args:
        world: the simulated world.
        evening: what is known of certificates.
        register: JPKI's.
    """

    def __init__(self, world: "World", evening: JpkiEvening, register: MemoryStore) -> None:
        self._world = world
        self._evening = evening
        self._register = register
        self._inside = dict.fromkeys(VERIFIERS, 0)
        self._numbered: dict[tuple[str, str, int], bytes] = {}

    async def _later(self, most_ms: int) -> None:
        await asyncio.sleep(self._world.delay_ms(0, most_ms) / 1000)

    # -- in the day

    async def verifier(self, name: str, kind: CertificateKind) -> None:
        """One of several askers of one verifier, again and again; together more than it may have at work."""
        for _ in range(TIMES):
            await self._later(ALL_MS)
            if self._world.pick(2):
                await self._checked(name, kind)
            else:
                await self._fetched(name, kind)

    async def party(self, kind: CertificateKind) -> None:
        """Two at a time: the second's look may come while the first's is being read."""
        for _ in range(PAIRS):
            await self._later(1_000)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._answered("", kind))
                group.create_task(self._unknown(kind))
                await self._later(LOOK_MS)
                await self._answered("", kind)

    async def all_once_more(self) -> None:
        """All is revoked and healed: everybody gets an answer."""
        for name, kind in VERIFIERS.items():
            for ask in (self._checked, self._fetched, self._answered):
                await self._until(ask, name, kind)
        async with asyncio.TaskGroup() as group:
            for _ in range(STRANGERS):
                group.create_task(self._strange())

    async def conclude(self) -> None:
        """What is given now is not old."""
        await self._renewed()
        await self._fresh()
        await self._aged()

    async def _until(self, ask: Ask, name: str, kind: CertificateKind) -> None:
        for _ in range(200):
            if await ask(name, kind):
                return
            await asyncio.sleep(0.5)
        self._world.violated("everything converges after the storm", f"{name} is not answered about {kind}")

    def _patience_ms(self) -> int:
        return CALM_MS if self._world.dice.calm else PATIENCE_MS[self._world.pick(len(PATIENCE_MS))]

    async def _checked(self, name: str, kind: CertificateKind) -> bool:
        """One check at the front: what was revoked by now is revoked, what nobody revoked is good."""
        serials = tuple(sorted(self._evening.serials()[kind]))
        before, machine = self._before(), self._world.machines[FRONT]
        credential = Credential(name, name.encode())
        self._inside[name] += 1
        try:
            checked = await inside(
                self._world, machine, Front, lambda node: node.check(credential, kind, serials), self._patience_ms()
            )
        finally:
            self._inside[name] -= 1
        if not isinstance(checked, Checked):
            return self._refused(checked)
        self._evening.answers["status"] += 1
        self._evening.logged()
        for one in checked.statuses:
            self._evening.judge(kind, one.serial, one.status, before.revoked, "front")
            if (kind, one.serial) in before.for_good and one.reason == "certificate_hold":
                self._world.violated("what was revoked is answered revoked", f"{kind} {one.serial} is said to be held")
        return True

    async def _fetched(self, name: str, kind: CertificateKind) -> bool:
        """A list through the front: all that was revoked by now is on it."""
        place = ("", HERE, THERE)[self._world.pick(3)]
        before = self._before()
        der = await self._list(name, kind, place, self._patience_ms())
        if der is None:
            return False
        crl = load_der_x509_crl(der)
        number = crl.extensions.get_extension_for_class(CRLNumber).value.crl_number
        if self._numbered.setdefault((kind, place, number), der) != der:
            self._world.violated("a list's number is of one list", f"{kind} of {place!r}: {number} is of two")
        listed = {entry.serial_number for entry in crl}
        for ca, serial in before.revoked:
            if ca == kind and place in {"", self._evening.place_of(ca, serial)} and serial not in listed:
                self._world.violated(
                    "what was revoked is on the list", f"{ca} {serial} is not on the list of {place!r}"
                )
        return True

    async def _list(self, name: str, kind: CertificateKind, place: str, patience_ms: int) -> bytes | None:
        """What a verifier gets; None when nothing came of it."""
        machine, credential = self._world.machines[FRONT], Credential(name, name.encode())
        self._inside[name] += 1
        try:
            der = await inside(
                self._world, machine, Front, lambda node: node.fetch(credential, kind, place), patience_ms
            )
        finally:
            self._inside[name] -= 1
        if not isinstance(der, bytes):
            self._refused(der)
            return None
        self._evening.answers["list"] += 1
        self._evening.logged()
        return der

    async def _answered(self, name: str, kind: CertificateKind, *, newest: bool = False) -> bool:
        """An OCSP request without a nonce, whose answer may be given again."""
        del name
        serials = sorted(self._evening.serials()[kind])
        serial = serials[-1] if newest else serials[self._world.pick(len(serials))]
        asked_ms, calm, before = EPOCH_MS + self._world.loop.now_ms, self._world.dice.calm, self._before()
        answer = await self._said(kind, serial)
        if answer is None:
            return False
        self._evening.judge(kind, serial, answer.certificate_status.name.lower(), before.revoked, "responder")
        if calm:  # else the responder's clock may be wrong
            age_ms = asked_ms - int(answer.this_update_utc.timestamp() * 1000)
            if age_ms > responder.REUSED_MS + OCSP_TIME_MS:
                self._world.violated("an old answer is not given again", f"{kind} {serial}: {age_ms} ms old")
        return True

    async def _said(self, kind: CertificateKind, serial: int) -> library.OCSPResponse | None:
        """The responder's word about one certificate; None when it has none, or cannot say now."""
        request = ocsp.request([ocsp.cert_id(self._ca(kind), serial)])
        answer = await ocsp_answer(self._world, request, self._patience_ms())
        successful = answer is not None and answer.response_status is library.OCSPResponseStatus.SUCCESSFUL
        return answer if successful else None

    async def _unknown(self, kind: CertificateKind) -> None:
        """About one that was never issued, as others are asked about in the same second."""
        serial = max(self._evening.serials()[kind]) + NEVER_ISSUED
        answer = await self._said(kind, serial)
        if answer is not None and answer.certificate_status is not library.OCSPCertStatus.UNKNOWN:
            text = f"{kind} {serial} is {answer.certificate_status.name.lower()}"
            self._world.violated("what was never issued is unknown", text)

    async def _aged(self) -> None:
        """The same question again and again, until the first answer would be too old."""
        if responder.REUSED_MS > AGED_MS:
            return
        for kind in KINDS:
            for _ in range(AGED_TIMES):
                await self._answered("", kind, newest=True)
                await asyncio.sleep(responder.REUSED_MS / 2 / 1000)

    async def _strange(self) -> None:
        """About another country's certificate: whether its authority is a new one here is looked up, and it is not."""
        await self._later(LOOK_MS)
        key = fixture_rsa(NOT_DEALT).public_key
        request = ocsp.request([ocsp.cert_id(PkiAuthority(kind="signature", public_key=key, profile=Profile()), 1)])
        later, status = library.OCSPResponseStatus.TRY_LATER, None
        for _ in range(STRANGE_TIMES):  # keys may be in the making meanwhile, on a device that was slow a moment ago
            answer = await ocsp_answer(self._world, request, CALM_MS)
            status = answer.response_status if answer else None
            if status is not later:
                break
        if status is not library.OCSPResponseStatus.UNAUTHORIZED:
            self._world.violated("nobody answers for another's certificates", str(status))

    def _refused(self, found: object) -> bool:
        if isinstance(found, Refused):
            self._world.violated("no request is refused", f"verifier: {found.code} {found}")
        return False

    def _before(self) -> Asked:
        return Asked(frozenset(self._evening.revoked), frozenset(self._evening.for_good))

    def _ca(self, kind: CertificateKind) -> PkiAuthority:
        rows = self._register.records(CaGeneration)
        row = next(each for each in rows if isinstance(each, CaGeneration) and each.ca == kind)
        return PkiAuthority(kind=kind, public_key=row.public_key, profile=Profile())

    async def _renewed(self) -> None:
        """Who asks its responder now gets an answer whose certificate lasts, however long the evening was."""
        machine = self._world.machines[RESPONDER]
        for kind in KINDS:
            asked = functools.partial(Responder.identities, kind=kind)
            found = await inside(self._world, machine, Responder, asked, CALM_MS)
            if isinstance(found, tuple):
                left_ms = min(identity.until_ms for identity in found) - EPOCH_MS - self._world.loop.now_ms
                if left_ms < responder.RENEW_MS - RENEWED_MS:
                    self._world.violated("a responder's certificate is renewed in time", f"{kind}: {left_ms} ms left")

    async def _fresh(self) -> None:
        """Who fetches a list now gets one that was built lately, whether or not anything was revoked since."""
        for name, kind in VERIFIERS.items():
            asked_ms = EPOCH_MS + self._world.loop.now_ms
            der = await self._list(name, kind, "", CALM_MS)
            if der is None:
                continue
            age_ms = asked_ms - int(load_der_x509_crl(der).last_update_utc.timestamp() * 1000)
            if age_ms > lists.REFRESH_MS + LIST_TIME_MS:
                self._world.violated("lists are built anew in time", f"{kind}: {age_ms} ms old")

    # -- looking

    def look(self) -> None:
        """At every step: a front has as many of a verifier's requests at work as ask, and no more."""
        machine = self._world.machines[FRONT]
        node = machine.node
        if machine.up and isinstance(node, Front):
            for name, inside_now in self._inside.items():
                at_work = node._at_work[name]  # noqa: SLF001 - a leak shows nowhere else
                if at_work > min(inside_now, front.AT_ONCE):
                    self._world.violated("what is held is given back", f"{name}: {at_work} at work, {inside_now} ask")

    def last(self) -> list[asyncio.Task[object]]:
        """OCSP requests that come as the responder ends: more than its HSM's workers sign at once."""
        machine, tasks = self._world.machines[RESPONDER], list[asyncio.Task[object]]()
        for kind, serials in self._evening.serials().items():
            for number in range(1 + self._world.pick(LAST)):
                if isinstance(machine.node, Responder):
                    serial, nonce = serials[number % len(serials)], bytes([number] * 16) if number else None
                    work = machine.node.answer(ocsp.request([ocsp.cert_id(self._ca(kind), serial)], nonce))
                    tasks.append(self._world.spawn(work, f"the last about {kind}", machine.process.context.copy()))
        return tasks
