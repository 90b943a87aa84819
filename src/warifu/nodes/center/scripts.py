"""Makes scripts for chips: contents, signatures, JPKI's part, the channel of card management's domain."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from warifu.chip.issuer import (
    ISD,
    HostChannel,
    IssuerCommand,
    SessionKeys,
    begin,
    close_pin_windows,
    commit,
    open_pin_window,
    parse_initialize_update,
    running_digest,
    set_life_state,
    start_digest,
)
from warifu.contract.authority import JpkiScript, OpenApplet
from warifu.contract.center import ChipPublicKeys, Personalise, ScriptPart
from warifu.contract.intake import ApplicationPhoto, AskPhoto
from warifu.contract.numbering import Number, RevealNumber
from warifu.contract.registry import AskIdentity, Identity
from warifu.contract.values import PinName
from warifu.domain.cards import contents, plans
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.domain.cards.contents import CardContents, Pictures, Unsigned
from warifu.domain.cards.errors import WrongCardState
from warifu.domain.cards.records import Card
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import Fault
from warifu.kernel.ids import ulid_bytes
from warifu.nodes.base import Call, KeepingNode
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.artwork import Artwork
from warifu.ports.hsm import ChannelKeys, HsmCommand, Mac, OpenCardChannel, PublicKey, Sign, SignDigestInfo

CARD_MASTER: Final = "center-card-master"
SIGNING_KEY: Final = "center-signing"
ROOT_KEY: Final = "center-card-root"
"""Certifies the signing key in the cards' card-verifiable certificates."""
CODE_KEY: Final = "center-security-code"
APPLETS: Final[tuple[PinName, ...]] = ("text", "juki")
"""PINs whose applets are card management's."""


_ToSign = Callable[[CardContents, bytes], dict[str, Unsigned]]


class Job(Struct, frozen=True):
    """One card write to make a script for."""

    call: Call
    card: Card
    write_id: str
    step_name: str
    host_challenge: bytes
    issuer_update: bytes
    """INITIALIZE UPDATE response of the issuer domain."""
    pins: tuple[str, ...] = ()
    jpki_update: bytes | None = None
    """The same of JPKI's domain; None when it takes no part."""
    opened_ms: int = 0
    """When its operation was opened; 0 at the factory."""


class MadeScript(Struct, frozen=True):
    """A script and its digest."""

    parts: tuple[ScriptPart, ...]
    digest: bytes


class Secrets(Struct, frozen=True):
    """What only the chip and the card's face show."""

    individual_number: str
    security_code: str

    def __repr__(self) -> str:
        """Without them."""
        return "Secrets(<hidden>)"


class ScriptMaker:
    """What the centre needs the HSM and its neighbours for."""

    def __init__(self, node: KeepingNode, hsm: HsmPool, artwork: Artwork) -> None:
        self.node = node
        self.hsm = hsm
        self.artwork = artwork

    # ---- the counter -------------------------------------------------------------------------------------------

    async def at_counter(self, job: Job) -> MadeScript:
        """The script of an operation's card write: JPKI's part first, then card management's with the commit."""
        digest = start_digest(ulid_bytes(job.write_id))
        parts: tuple[ScriptPart, ...] = ()
        identity = await self.identity(job, "card.write") if job.step_name in _NEEDS_PERSON else None
        if job.jpki_update is not None:
            jpki = await self._jpki(job, job.jpki_update, identity)
            parts = (ScriptPart(aid=jpki.aid, commands=jpki.commands),)
            digest = jpki.running_digest
        made = await self._wrap(job, await self._commands(job, identity), digest)
        return MadeScript((*parts, *made.parts), made.digest)

    async def _jpki(self, job: Job, update: bytes, identity: Identity | None) -> JpkiScript:
        ask = OpenApplet(
            card_id=job.card.card_id,
            write_id=job.write_id,
            purpose=plans.JPKI_PURPOSES[job.step_name],
            pins=tuple(pin for pin in ("signature", "authentication") if pin in job.pins),
            host_challenge=job.host_challenge,
            initialize_update=update,
            person=identity.person if identity else None,
            municipality=identity.person.municipality if identity else None,
            card_expires_on=job.card.expires_on,
            resident_version=identity.resident_version if identity else 0,
            opened_ms=job.opened_ms,
        )
        # Asked again after the holder's record changed it is another question.
        part = f"jpki.{identity.resident_version}" if identity else "jpki"
        return await self.node.ask(job.call, "authority", ask, JpkiScript, part)

    async def _commands(self, job: Job, identity: Identity | None) -> tuple[IssuerCommand, ...]:
        life = plans.CHIP_STATE_AFTER.get(job.step_name)
        commands: tuple[IssuerCommand, ...] = ()
        if job.step_name == "open_windows":
            mine = [place for pin in APPLETS if pin in job.pins for place in PIN_PLACES[pin]]
            commands = tuple(open_pin_window(aid, reference) for aid, reference in mine)
        elif job.step_name == "activate":
            commands = tuple(close_pin_windows(aid) for pin in APPLETS for aid, _ in PIN_PLACES[pin])
        elif job.step_name in {"continue", "update"} and identity is not None:
            commands = await self._new_particulars(job, identity)
        return commands if life is None else (*commands, set_life_state(life))

    async def _new_particulars(self, job: Job, identity: Identity) -> tuple[IssuerCommand, ...]:
        photo = await self.node.ask(
            job.call,
            "intake",
            AskPhoto(application_id=job.card.application_id, purpose="card.write"),
            ApplicationPhoto,
            "photo",
        )
        number = await self.number(job, "card.write")
        code = await self.security_code(job)
        pictures = Pictures(
            name=self.artwork.name_image(identity.person.name).png,
            address=self.artwork.address_image(identity.person.address).png,
            number=self.artwork.number_image(number),
            code=self.artwork.code_image(code),
            photo=self.artwork.portrait_jpeg2000(photo.photo),
        )
        own = ChipPublicKeys(face=job.card.face_modulus)
        data = self._contents(job.card, identity, Secrets(number, code), pictures, own)
        modulus, signatures = await self._signed(job, data, contents.particulars_to_sign)
        entry = contents.appended(identity.person, jst_date(job.call.now_ms))
        return (*contents.particulars(data, modulus, signatures), entry)

    # ---- the factory -------------------------------------------------------------------------------------------

    async def at_factory(self, job: Job, request: Personalise) -> MadeScript:
        """The script that fills a blank card; it goes on from JPKI's part of the same write."""
        identity = await self.identity(job, "card.personalise")
        secrets = Secrets(await self.number(job, "card.personalise"), await self.security_code(job))
        pictures = Pictures(
            name=request.name_image,
            address=request.address_image,
            number=request.number_image,
            code=request.code_image,
            photo=request.photo,
        )
        data = self._contents(job.card, identity, secrets, pictures, request.chip_keys)
        modulus, signatures = await self._signed(job, data, contents.to_sign)
        return await self._wrap(job, contents.personalisation(data, modulus, signatures), request.running_digest)

    # ---- parts -------------------------------------------------------------------------------------------------

    async def identity(self, job: Job, purpose: str) -> Identity:
        """The holder's identity information, from the registry (audited there)."""
        ask = AskIdentity(resident_id=job.card.resident_id, purpose=purpose)
        return await self.node.ask(job.call, "registry", ask, Identity, "identity")

    async def number(self, job: Job, purpose: str) -> str:
        """The holder's individual number (audited there)."""
        ask = RevealNumber(resident_id=job.card.resident_id, purpose=purpose)
        return (await self.node.ask(job.call, "numbering", ask, Number, "number")).individual_number

    async def security_code(self, job: Job) -> str:
        """The four digits printed on the card: derived inside the HSM, stored nowhere."""
        mac = await self.hsm.bytes_of(Mac(CODE_KEY, job.card.card_id.encode()), self.node.remaining_ms(job.call))
        return f"{int.from_bytes(mac, 'big') % 10_000:04}"

    @staticmethod
    def _contents(
        card: Card, identity: Identity, secrets: Secrets, pictures: Pictures, chip_keys: ChipPublicKeys
    ) -> CardContents:
        if card.expires_on is None:
            raise WrongCardState("the card's validity is not fixed yet")
        return CardContents(
            card_id=card.card_id,
            person=identity.person,
            resident_code=identity.resident_code,
            individual_number=secrets.individual_number,
            security_code=secrets.security_code,
            expires_on=card.expires_on,
            pictures=pictures,
            chip_keys=chip_keys,
        )

    async def _signed(self, job: Job, data: CardContents, wanted: _ToSign) -> tuple[bytes, dict[str, bytes]]:
        modulus = contents.modulus_of(await self._hsm_bytes(job, PublicKey(SIGNING_KEY)))
        signatures: dict[str, bytes] = {}
        for name, unsigned in wanted(data, modulus).items():
            sign = SignDigestInfo if unsigned.is_digest_info else Sign
            key = ROOT_KEY if unsigned.by_root else SIGNING_KEY
            signatures[name] = await self._hsm_bytes(job, sign(key, unsigned.data))
        return modulus, signatures

    async def _hsm_bytes(self, job: Job, command: HsmCommand) -> bytes:
        return await self.hsm.bytes_of(command, self.node.remaining_ms(job.call))

    async def _wrap(self, job: Job, commands: tuple[IssuerCommand, ...], digest: bytes) -> MadeScript:
        write = ulid_bytes(job.write_id)
        digest = running_digest(digest, commands)
        answer = parse_initialize_update(job.issuer_update)
        derive = OpenCardChannel(CARD_MASTER, job.card.card_id, job.host_challenge, answer.card_challenge)
        keys = await self.hsm.call(derive, self.node.remaining_ms(job.call))
        if not isinstance(keys, ChannelKeys):
            raise Fault("the HSM gave no channel keys")
        session = SessionKeys(enc=keys.enc, mac=keys.mac, rmac=keys.rmac, dek=keys.dek)
        channel = HostChannel(ISD, session, job.host_challenge, job.issuer_update)
        apdus = channel.script((begin(ISD, write), *commands, commit(write, job.step_name, digest)))
        return MadeScript((ScriptPart(aid=ISD, commands=apdus),), digest)


_NEEDS_PERSON: Final = frozenset({"continue", "update", "renew", "resume"})
