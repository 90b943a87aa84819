"""The external-authentication service (外部認証鍵): opens the JPKI applet of one card, for one channel and purpose."""

from collections.abc import Sequence
from typing import Final, Literal

from warifu.chip import contents, layout
from warifu.chip.issuer import (
    JPKI,
    HostChannel,
    IssuerCommand,
    SessionKeys,
    begin,
    close_pin_windows,
    open_pin_window,
    parse_initialize_update,
    put_ef,
    put_key_pair,
    running_digest,
    set_certificate_availability,
    start_digest,
)
from warifu.contract.authority import JpkiScript, OpenApplet
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.errors import CardAlreadyMade, WriteEnded
from warifu.domain.certificates.records import AppletWrite, Certificate, StoredKeyPair
from warifu.domain.certificates.rules import LIVE, write_opened
from warifu.kernel.errors import Fault, Malformed, NotFound, Stale
from warifu.kernel.ids import ulid_bytes
from warifu.nodes.authority.issuing import ALL, Issuer, Order
from warifu.nodes.base import Call, KeepingNode
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.hsm import ChannelKeys, OpenCardChannel
from warifu.ports.store import Change, Find, Get, Update, Write

CARD_MASTER: Final = "jpki-card-master"
CERTIFICATE_FILES: Final[dict[str, tuple[int, int]]] = {
    "signature": (layout.SIGNATURE_CERTIFICATE, layout.SIGNATURE_CA_CERTIFICATE),
    "authentication": (layout.AUTHENTICATION_CERTIFICATE, layout.AUTHENTICATION_CA_CERTIFICATE),
}
PIN_REFERENCES: Final[dict[str, int]] = {
    "signature": layout.SIGNATURE_PIN,
    "authentication": layout.AUTHENTICATION_PIN,
}
_TOKEN_SERIAL: Final = 16


class AppletService:
    """Makes JPKI's part of card writes."""

    def __init__(self, node: KeepingNode, hsm: HsmPool, issuer: Issuer) -> None:
        self.node = node
        self.hsm = hsm
        self.issuer = issuer

    async def script(self, call: Call, request: OpenApplet) -> JpkiScript:
        """JPKI's part of one card write, for the channel that the chip's answer begins."""
        guards = await self._in_making(request.card_id) if request.purpose == "personalise" else ()
        await self._record(call, request, guards)
        return await self._script(call, request, await self._commands(call, request))

    async def unchanged(self, call: Call, request: OpenApplet, of_card: Sequence[Certificate]) -> JpkiScript:
        """The same for a purpose that issues nothing; whoever asks records the write before the script goes out."""
        return await self._script(call, request, _switching(request, of_card))

    async def _script(self, call: Call, request: OpenApplet, commands: Sequence[IssuerCommand]) -> JpkiScript:
        write = ulid_bytes(request.write_id)
        channel = await self._channel(call, request)
        return JpkiScript(
            aid=JPKI,
            commands=channel.script((begin(JPKI, write), *commands)),
            running_digest=running_digest(start_digest(write), commands),
        )

    async def _in_making(self, card_id: str) -> tuple[Write, ...]:
        """Key pairs that end when the card is made: a record that comes late finds them changed, and is none.

        Raises:
            CardAlreadyMade: it has left the factory's hands.
        """
        wanted = [Get(StoredKeyPair, (each.key_pair_id,)) for each in await self.issuer.of_card(card_id)]
        found = (await self.node.store.read(*wanted)) if wanted else None
        await self.require_in_making(card_id)
        pairs = (found.one(number, StoredKeyPair) for number in range(len(wanted))) if found else ()
        return tuple(Update(pair, ("changed_ms",)) for pair in pairs if pair is not None)

    async def require_in_making(self, card_id: str) -> None:
        """A card has left the factory's hands once any card write of it is finished. ``CardAlreadyMade``."""
        found = await self.node.store.read(Find(AppletWrite, {"card_id": card_id}, ALL))
        if any(write.state == "finished" for write in found.all(0, AppletWrite)):
            raise CardAlreadyMade(card_id)

    async def _record(self, call: Call, request: OpenApplet, guards: Sequence[Write]) -> None:
        """The write is known before anything is issued for it, so that its end finds whatever was."""
        try:  # it seldom is there, so it is not looked for first
            opened = write_opened(None, request, self.node.asked(call))
            await self.node.store.commit(Change(now_ms=call.now_ms, writes=(*opened, *guards)))
        except Stale:
            known = (await self.node.store.read(Get(AppletWrite, (request.write_id,)))).one(0, AppletWrite)
        else:
            return
        if known is None:
            raise WriteEnded(request.write_id)
        write_opened(known, request, self.node.asked(call))

    async def _channel(self, call: Call, request: OpenApplet) -> HostChannel:
        answer = parse_initialize_update(request.initialize_update)
        derive = OpenCardChannel(CARD_MASTER, request.card_id, request.host_challenge, answer.card_challenge)
        keys = await self.hsm.call(derive, self.node.remaining_ms(call))
        if not isinstance(keys, ChannelKeys):
            raise Fault("the HSM gave no channel keys")
        session = SessionKeys(enc=keys.enc, mac=keys.mac, rmac=keys.rmac, dek=keys.dek)
        return HostChannel(JPKI, session, request.host_challenge, request.initialize_update)

    async def _commands(self, call: Call, request: OpenApplet) -> tuple[IssuerCommand, ...]:
        of_card = await self.issuer.of_card(request.card_id)
        if request.purpose == "personalise":
            return await self._personalise(request.card_id, [each for each in of_card if each.state in LIVE])
        return await self._replace(call, request, of_card)

    async def _personalise(self, card_id: str, live: Sequence[Certificate]) -> tuple[IssuerCommand, ...]:
        commands: list[IssuerCommand] = []
        for kind in CERTIFICATE_FILES:
            root = (await self.issuer.signer.newest(_kind(kind))).der
            commands += put_ef(JPKI, CERTIFICATE_FILES[kind][1], root)
        for certificate in live:
            commands += await self._put(certificate)
        token = contents.token_info(card_id.ljust(_TOKEN_SERIAL)[:_TOKEN_SERIAL])
        return (*commands, *put_ef(JPKI, layout.TOKEN_INFO, token), _availability(set()))

    async def _replace(
        self, call: Call, request: OpenApplet, of_card: Sequence[Certificate]
    ) -> tuple[IssuerCommand, ...]:
        # Also what was revoked: its holder gets another.
        held = {each.ca for each in of_card if each.state != "intent"}
        wanted = held & ({"signature"} if request.purpose == "replace_signature" else {"signature", "authentication"})
        if request.person is None or request.municipality is None or request.card_expires_on is None:
            raise Malformed(f"{request.purpose} needs the holder's identity")
        if not of_card:
            raise NotFound(f"certificates of card {request.card_id}")
        order = Order(
            card_id=request.card_id,
            resident_id=of_card[0].resident_id,
            person=request.person,
            municipality=request.municipality,
            card_expires_on=request.card_expires_on,
            kinds=tuple(_kind(kind) for kind in sorted(wanted)),
            write_id=request.write_id,
            resident_version=request.resident_version,
            opened_ms=request.opened_ms,
        )
        issued = await self.issuer.issue(call, order)
        commands: list[IssuerCommand] = []
        for certificate in issued:
            commands += await self._put(certificate)
        return (*commands, _availability((held - wanted) | {each.ca for each in issued}))

    async def _put(self, certificate: Certificate) -> tuple[IssuerCommand, ...]:
        """The certificate and its private key: decrypted for the channel only, in memory only."""
        key = (certificate.key_pair_id,)
        pair = (await self.node.store.read(Get(StoredKeyPair, key))).one(0, StoredKeyPair)
        if pair is None:
            raise NotFound(f"key pair {certificate.key_pair_id}")
        if pair.wrapped is None:
            raise WriteEnded(certificate.write_id)
        slot: Literal["signature", "authentication"] = _kind(certificate.ca)
        private_key = await self.issuer.pool.private_key(pair)
        return (
            put_key_pair(slot, private_key),
            *put_ef(JPKI, CERTIFICATE_FILES[certificate.ca][0], certificate.der),
        )


def _switching(request: OpenApplet, of_card: Sequence[Certificate]) -> tuple[IssuerCommand, ...]:
    """What opens and closes windows, and makes certificates usable or not."""
    if request.purpose == "open_windows":
        return tuple(open_pin_window(JPKI, PIN_REFERENCES[pin]) for pin in request.pins)
    if request.purpose == "enable":
        return (close_pin_windows(JPKI), _availability({each.ca for each in of_card if each.state in LIVE}))
    return (_availability(set()),)  # permit: nothing usable yet; disable: nothing any more


def _availability(kinds: set[str]) -> IssuerCommand:
    return set_certificate_availability(signature="signature" in kinds, authentication="authentication" in kinds)


def _kind(text: str) -> CertificateKind:
    return "signature" if text == "signature" else "authentication"
