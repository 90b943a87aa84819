"""JPKI's messages: issuing, opening applets, settling, revoking, lists."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from warifu.contract.authority import (
    AskAuthorities,
    AskCertificates,
    AskImported,
    AskJpkiCardKeys,
    AskResponderCertificate,
    AskStatuses,
    Authorities,
    BatchIssued,
    Certificates,
    EnrolHolder,
    IssueBatch,
    IssueCertificates,
    JpkiCardKeys,
    JpkiScript,
    MakeGeneration,
    OpenApplet,
    PublishList,
    ResponderCertificate,
    RevocationList,
    RevokeCertificates,
    RevokeSerials,
    SearchCertificates,
    WriteSettled,
)
from warifu.contract.callers import is_kind
from warifu.contract.message import Done
from warifu.contract.registry import ResidentChangedForAuthority
from warifu.domain.certificates import rules
from warifu.domain.certificates.errors import WriteEnded
from warifu.domain.certificates.imported import ImportedAuthority, ImportedCertificate
from warifu.domain.certificates.records import (
    AppletWrite,
    CaGeneration,
    Certificate,
    IssueBlock,
    KeyBlock,
    KeyCeremony,
    KeyHolder,
    KeyUse,
    KnownResident,
    ListRevision,
    PublishedList,
    Revocation,
    StoredKeyPair,
)
from warifu.domain.certificates.rules import Register
from warifu.domain.decision import Decision
from warifu.domain.pki.dates import Validity
from warifu.domain.pki.lint import lint_certificate
from warifu.domain.pki.profile import Profile, ResponderContent, responder_tbs
from warifu.kernel.errors import NotAllowed, Stale
from warifu.nodes.authority.applet import CARD_MASTER, AppletService
from warifu.nodes.authority.bulk import BulkIssuer
from warifu.nodes.authority.ceremony import Ceremonies
from warifu.nodes.authority.imported import ImportedService
from warifu.nodes.authority.issuing import ALL, Issuer, Order
from warifu.nodes.authority.key_pool import KeyPool
from warifu.nodes.authority.lists import Lists, generation_of
from warifu.nodes.authority.mass_revocation import MassRevocation
from warifu.nodes.authority.searching import NameIndex, SearchService
from warifu.nodes.authority.signing import Signer
from warifu.nodes.authority.statuses import StatusService
from warifu.nodes.base import Call, KeepingNode, World, expect
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.sealed_keys import sealed_keys
from warifu.nodes.with_hsm import WithHsm
from warifu.ports.crypto import Crypto
from warifu.ports.shelf import Shelf
from warifu.ports.store import Find, Get, Snapshot, Store

RECORDS = (
    CaGeneration,
    KeyHolder,
    KeyCeremony,
    StoredKeyPair,
    KeyBlock,
    KeyUse,
    IssueBlock,
    Certificate,
    Revocation,
    ListRevision,
    PublishedList,
    AppletWrite,
    KnownResident,
    ImportedCertificate,
    ImportedAuthority,
)
RESPONDER_DAYS_MS = 90 * 86_400_000


class Authority(WithHsm, KeepingNode):
    """JPKI: reception, signature CA and user-authentication CA."""

    KIND: ClassVar[str] = "authority"

    def __init__(
        self,
        world: World,
        store: Store,
        hsm: HsmPool,
        crypto: Crypto,
        *,
        profile: Profile,
        key_pairs: int,
        shelf: Shelf,
    ) -> None:
        """Make the node.

        Args:
            world: what every node has.
            store: the register.
            hsm: the authorities' keys and JPKI's card keys.
            crypto: makes subscribers' key pairs.
            profile: names and extensions.
            key_pairs: how many free ones to keep in stock.
            shelf: where finished lists stand.
        """
        super().__init__(world, store)
        self.hsm = hsm
        self.signer = Signer(store, hsm, world.clock, profile)
        self.pool = KeyPool(world, store, hsm, crypto, key_pairs)
        names = NameIndex(hsm)
        self.issuer = Issuer(self, self.signer, self.pool, names)
        self.bulk = BulkIssuer(self, self.signer, self.pool, names)
        self.ceremonies = Ceremonies(self, self.signer)
        self.applets = AppletService(self, hsm, self.issuer)
        self.lists = Lists(self, self.signer, shelf)
        self.statuses = StatusService(self)
        self.searches = SearchService(self, names)
        self.handlers |= {
            IssueCertificates.NAME: self.issue,
            IssueBatch.NAME: self.issue_batch,
            EnrolHolder.NAME: self.ceremonies.enrol,
            MakeGeneration.NAME: self.ceremonies.make,
            AskJpkiCardKeys.NAME: self.card_keys,
            OpenApplet.NAME: self.open_applet,
            WriteSettled.NAME: self.settled,
            RevokeCertificates.NAME: self.revoke,
            RevokeSerials.NAME: MassRevocation(self).revoke,
            ResidentChangedForAuthority.NAME: self.resident_changed,
            AskCertificates.NAME: self.certificates,
            AskAuthorities.NAME: self.authorities,
            PublishList.NAME: self.publish,
            AskStatuses.NAME: self.statuses.statuses,
            SearchCertificates.NAME: self.searches.search,
            AskImported.NAME: ImportedService(self).look,
            AskResponderCertificate.NAME: self.responder_certificate,
        }

    async def issue(self, call: Call) -> Certificates:
        """Issue a card's certificates."""
        request = expect(call.request, IssueCertificates)
        earlier = await self.answered(call, Certificates)
        if earlier is not None:
            return earlier
        order = Order(
            card_id=request.card_id,
            resident_id=request.resident_id,
            person=request.person,
            municipality=request.municipality,
            card_expires_on=request.card_expires_on,
            kinds=request.kinds,
            resident_version=request.resident_version,
        )
        issued = await self.issuer.issue(call, order)
        return await self.remember(call, rules.views(issued), Certificates)

    async def issue_batch(self, call: Call) -> BatchIssued:
        """Issue one part of a batch."""
        return await self.bulk.issue(call, expect(call.request, IssueBatch))

    async def card_keys(self, call: Call) -> JpkiCardKeys:
        """JPKI's static keys of one card, sealed to the factory's HSM."""
        request = expect(call.request, AskJpkiCardKeys)
        await self.applets.require_in_making(request.card_id)
        left = self.remaining_ms(call)
        return JpkiCardKeys(keys=await sealed_keys(self.hsm, CARD_MASTER, request.card_id, request.factory_key, left))

    async def open_applet(self, call: Call) -> JpkiScript:
        """Open the JPKI applet of a card for one channel and purpose.

        The script holds key pairs, so all that is remembered of it is its digest. The same request again makes the same
        script anew, as long as the card write is open and what was issued for it stands.
        """
        request = expect(call.request, OpenApplet)
        if (request.purpose == "personalise") is not is_kind(call.envelope.sender, "issuance"):
            raise NotAllowed(f"{request.purpose} is not for {call.envelope.sender}")
        if request.purpose in rules.ISSUES_NOTHING:
            return await self._open_unchanged(call, request)
        earlier = await self.answered(call, JpkiScript)
        script = await self.applets.script(call, request)
        if earlier is None:
            earlier = await self.remember(call, msgspec.structs.replace(script, commands=()), JpkiScript)
        return _unless_ended(request, script, earlier)

    async def _open_unchanged(self, call: Call, request: OpenApplet) -> JpkiScript:
        """For purposes that issue nothing: the write gets known together with the answer, in one commit."""
        reads = (Get(AppletWrite, (request.write_id,)), Find(Certificate, {"card_id": request.card_id}, ALL))
        begun, earlier = await self.begin(call, reads, JpkiScript)
        if earlier is not None:
            rules.write_opened(begun.one(0, AppletWrite), request, self.asked(call))
        script = await self.applets.unchanged(call, request, begun.all(1, Certificate))
        remembered = msgspec.structs.replace(script, commands=())

        def rule(snapshot: Snapshot) -> Decision:
            opened = rules.write_opened(snapshot.one(0, AppletWrite), request, self.asked(call))
            return Decision(answer=remembered, writes=opened)

        return _unless_ended(request, script, earlier or await self.step(call, reads, rule, JpkiScript, begun=begun))

    async def settled(self, call: Call) -> Done:
        """A card write ended on the chip."""
        request = expect(call.request, WriteSettled)
        of_card = {"card_id": request.card_id}
        reads: list[Get | Find] = [Find(AppletWrite, dict(of_card), ALL), *_reads(of_card, ())]
        begun, earlier = await self.begin(call, reads, Done)
        if earlier is not None:
            return earlier
        concerned = begun.all(1, Certificate)
        if concerned:
            reads[1:] = _reads(of_card, concerned)

        def rule(snapshot: Snapshot) -> Decision:
            writes = snapshot.all(0, AppletWrite)
            return rules.settled(_register(snapshot, 1, concerned), writes, request, self.asked(call))

        return await self.step(call, reads, rule, Done, begun=None if concerned else begun)

    async def revoke(self, call: Call) -> Certificates:
        """Revoke what an event hits among a card's certificates."""
        request = expect(call.request, RevokeCertificates)
        of_card = {"card_id": request.card_id}
        concerned = (await self.store.read(Find(Certificate, of_card, ALL))).all(0, Certificate)

        def rule(snapshot: Snapshot) -> Decision:
            register = _register(snapshot, 0, concerned)
            return rules.revoke(register, request.event, self.asked(call), request.kinds, request.at_ms)

        return await self.step(call, _reads(of_card, concerned), rule, Certificates)

    async def resident_changed(self, call: Call) -> Done:
        """The registry tells of a change: what stands in certificates is revoked (異動等失効)."""
        request = expect(call.request, ResidentChangedForAuthority)
        of_resident = {"resident_id": request.resident_id}
        concerned = (await self.store.read(Find(Certificate, of_resident, ALL))).all(0, Certificate)
        reads = [Get(KnownResident, (request.resident_id,)), *_reads(of_resident, concerned)]

        def rule(snapshot: Snapshot) -> Decision:
            known = snapshot.one(0, KnownResident)
            return rules.resident_changed(_register(snapshot, 1, concerned), known, request, self.asked(call))

        return await self.step(call, reads, rule, Done)

    async def certificates(self, call: Call) -> Certificates:
        """The certificates of a card."""
        request = expect(call.request, AskCertificates)
        return rules.views(await self.issuer.of_card(request.card_id), with_der=request.with_der)

    async def authorities(self, call: Call) -> Authorities:
        """The trust anchors of one CA."""
        request = expect(call.request, AskAuthorities)
        generations = await self.signer.generations(request.ca)
        return Authorities(
            certificates=tuple(each.der for each in generations),
            generations=tuple(each.generation for each in generations),
        )

    async def publish(self, call: Call) -> RevocationList:
        """A current list."""
        return await self.lists.current(call, expect(call.request, PublishList))

    async def responder_certificate(self, call: Call) -> ResponderCertificate:
        """Certify a delegated responder."""
        request = expect(call.request, AskResponderCertificate)
        earlier = await self.answered(call, ResponderCertificate)
        if earlier is not None:
            return earlier
        generation = await generation_of(self.signer, request.ca, request.generation)
        now_ms = call.now_ms // 1000 * 1000
        content = ResponderContent(
            serial=await self.signer.next_serial(request.ca),
            public_key=request.public_key,
            validity=Validity(not_before_ms=now_ms, not_after_ms=now_ms + RESPONDER_DAYS_MS),
            common_name=call.envelope.sender,
        )
        authority = self.signer.authority(generation)
        tbs = responder_tbs(authority, content)
        lint_certificate(authority, content, tbs)
        der = await self.signer.sign(generation, tbs, self.remaining_ms(call))
        return await self.remember(call, ResponderCertificate(der=der), ResponderCertificate)

    async def run(self) -> None:
        """The roots first; then the stock of key pairs beside the other timers."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self.pool.run())


def _unless_ended(request: OpenApplet, script: JpkiScript, remembered: JpkiScript) -> JpkiScript:
    """The script, if it is the one that was remembered; ``WriteEnded`` when what it would do has changed since."""
    if remembered.running_digest != script.running_digest:
        raise WriteEnded(request.write_id)
    return script


def _reads(scope: dict[str, str], concerned: Sequence[Certificate]) -> list[Get | Find]:
    """The certificates, and of each that may still change its line, its list's revision and its key pair.

    A store reads so much at once and no more. A card whose writes failed again and again has ended certificates by the
    hundred; what is over needs no look.
    """
    reads: list[Get | Find] = [Find(Certificate, dict(scope), ALL)]
    concerned = [each for each in concerned if not rules.is_over(each)]
    reads += [Get(Revocation, (each.ca, each.serial)) for each in concerned]
    reads += [Get(StoredKeyPair, (each.key_pair_id,)) for each in concerned]
    lists = sorted({(each.ca, each.municipality) for each in concerned})
    return reads + [Get(ListRevision, each) for each in lists]


def _register(snapshot: Snapshot, start: int, concerned: Sequence[Certificate]) -> Register:
    """What was read. ``Stale`` when there is a certificate of which the rest was not."""
    certificates, count = snapshot.all(start, Certificate), sum(not rules.is_over(each) for each in concerned)
    if {(each.ca, each.serial) for each in certificates} != {(each.ca, each.serial) for each in concerned}:
        raise Stale("a certificate was issued meanwhile")
    return Register(
        certificates=certificates,
        revocations=tuple(r for n in range(count) for r in snapshot.all(start + 1 + n, Revocation)),
        key_pairs=tuple(r for n in range(count) for r in snapshot.all(start + 1 + count + n, StoredKeyPair)),
        revisions=tuple(
            r for n in range(start + 1 + 2 * count, len(snapshot.results)) for r in snapshot.all(n, ListRevision)
        ),
    )
