"""Makes a persona's card: a real chip, filled, set up and handed over by the issuer commands that the nodes use.

The chip lives in memory until all of it is done, so that a card file appears whole or not at all.
"""

import datetime
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import Struct

from warifu.adapters.artwork import PillowArtwork
from warifu.adapters.crypto import SystemCrypto
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.reader.files import store_card
from warifu.adapters.reader.key_stock import KeyStock
from warifu.chip import client, layout
from warifu.chip import contents as files
from warifu.chip.image import Interface
from warifu.chip.issuer import (
    ISD,
    JPKI,
    IssuerCommand,
    close_pin_windows,
    open_pin_window,
    put_ef,
    put_key_pair,
    set_certificate_availability,
    set_life_state,
)
from warifu.chip.personalise import ChipKeys, with_reset_profile
from warifu.contract.center import ChipPublicKeys
from warifu.contract.values import CertificateKind, PinName
from warifu.domain.cards import contents
from warifu.domain.cards.chip_names import PIN_PLACES, own_keys
from warifu.domain.cards.contents import CardContents, Pictures
from warifu.domain.pki.dates import Validity, certificate_validity
from warifu.domain.pki.names import point_of
from warifu.domain.pki.profile import AuthenticationContent, Content, SignatureContent, common_name, subscriber_data
from warifu.kernel.calendar import (
    JST,
    SIGNATURE_MIN_AGE,
    age_on,
    birth_key,
    card_valid_until,
    jst_date,
    verification_number_b,
)
from warifu.kernel.ids import CARD_NUMBERS, card_id
from warifu.kernel.municipalities import MUNICIPALITIES, Municipality
from warifu.lend.authority import CODE_KEY, MANAGEMENT_KEY, CertificateOrder, LendingAuthority
from warifu.lend.bench_chip import BenchChip
from warifu.lend.errors import BadPin
from warifu.lend.personas import Persona
from warifu.lend.register import Issued
from warifu.nodes.authority.applet import CERTIFICATE_FILES
from warifu.synthetic.photos import portrait
from warifu.synthetic.residents import SyntheticResident

TEST_PINS: Final[dict[PinName, str]] = {
    "signature": "ABC123",
    "authentication": "1234",
    "text": "5678",
    "juki": "9012",
}
"""The same on every test card unless others are asked for: they protect nothing."""

_DAY_MS: Final = 86_400_000
_WRONG: Final[dict[PinName, tuple[str, str]]] = {
    "signature": ("WRONG0", "WRONG1"),
    "authentication": ("0000", "9999"),
    "text": ("0000", "9999"),
    "juki": ("0000", "9999"),
}
"""One of the two is wrong, whatever the PIN is."""


class MadeCard(Struct, frozen=True, kw_only=True):
    """A lent card and all it takes to use it. Synthetic: to be shown to the developer once, and stored nowhere."""

    card_id: str
    persona: str
    name: str
    birth_date: datetime.date
    expires_on: datetime.date
    pins: dict[PinName, str]
    individual_number: str
    """Also verification number A."""
    verification_number_b: str
    birth_key: str
    certificates: tuple[Issued, ...]

    def __repr__(self) -> str:
        """Without the person, the PINs and the numbers."""
        return f"MadeCard({self.card_id}, {self.persona})"


class Manner(Struct, frozen=True, kw_only=True):
    """How the chip behaves towards readers and clients; a real card over its contacts, unless told otherwise."""

    interface: Interface = "contact"
    contact_atr: bytes = layout.CONTACT_ATR
    clear_on_reselect: bool = True
    """Whether SELECT of the current applet forgets verified PINs; pyjpki needs a card that does not."""


class CardMaker:
    """Makes cards for one test CA.

    Args:
        authority: the test CA.
        cards: the folder of card files.
        now_ms: milliseconds since 1970 UTC.
    """

    def __init__(self, authority: LendingAuthority, cards: Path, now_ms: int) -> None:
        self.authority = authority
        self.cards = cards
        self.now_ms = now_ms
        self.entropy = SystemEntropy()
        self.artwork = PillowArtwork()

    async def make(
        self,
        persona: Persona,
        *,
        seed: int = 1,
        pins: dict[PinName, str] | None = None,
        places: tuple[Municipality, ...] = MUNICIPALITIES,
        manner: Manner | None = None,
    ) -> MadeCard:
        """Make one card and store it.

        Args:
            persona: what kind.
            seed: another one, another holder.
            pins: test PINs that differ from ``TEST_PINS``.
            places: where the holder may live.
            manner: reset profile and the switch of re-selection; as a real card's if not given.

        Raises:
            BadPin: a PIN has not its form.
        """
        chosen = checked_pins(TEST_PINS | (pins or {}))
        work = Making(self, persona, persona.cast(seed, jst_date(self.now_ms), places))
        await work.personalise()
        await work.set_up()
        await work.hand_over(chosen)
        for pin in persona.blocked_pins:
            if pin in work.pins:
                await work.chip.block(PIN_PLACES[pin][0], _wrong(pin, chosen[pin]))
        self.cards.mkdir(parents=True, exist_ok=True, mode=0o700)
        how = manner or Manner()
        image = with_reset_profile(
            work.chip.image, how.interface, contact_atr=how.contact_atr, clear_on_reselect=how.clear_on_reselect
        )
        store_card(self.cards, work.card_id, image)
        if persona.revoked_by is not None:
            self.authority.revoke(work.card_id, persona.revoked_by, self.now_ms)
        return work.made(chosen)

    async def make_unset(self, persona: Persona, *, seed: int = 1) -> "Making":
        """A card as it comes from the factory, still in memory: what a set-up begins with."""
        work = Making(self, persona, persona.cast(seed, jst_date(self.now_ms)))
        await work.personalise()
        return work


def checked_pins(pins: dict[PinName, str]) -> dict[PinName, str]:
    """The PINs, if each has its form. ``BadPin`` otherwise."""
    for name, value in pins.items():
        if name not in TEST_PINS:
            raise BadPin(f"a card has the PINs {', '.join(TEST_PINS)}")
        if not _FORMS[name == "signature"].fullmatch(value):
            raise BadPin(f"{name}: four digits, or 6 to 16 of A-Z and 0-9 with both kinds for signature")
    return pins


_FORMS: Final = (re.compile(r"[0-9]{4}"), re.compile(r"(?=.*[A-Z])(?=.*[0-9])[A-Z0-9]{6,16}"))


def _wrong(pin: PinName, right: str) -> str:
    first, second = _WRONG[pin]
    return second if first == right else first


class Making:
    """The making of one card."""

    def __init__(self, maker: CardMaker, persona: Persona, holder: SyntheticResident) -> None:
        self.maker = maker
        self.persona = persona
        self.holder = holder
        self.issued_ms = maker.now_ms - persona.issued_days_ago * _DAY_MS
        # The upper half of the card numbers: a stack counts its own from 1.
        random = int.from_bytes(maker.entropy.random_bytes(8), "big")
        self.card_id = card_id(CARD_NUMBERS // 2 + random % (CARD_NUMBERS // 2))
        self.chip = BenchChip(maker.authority.device, self.card_id, maker.entropy, self._certify_card)
        self.certificates: dict[CertificateKind, Issued] = {}

    def _certify_card(self, body: bytes) -> bytes:
        return self.maker.authority.sign(MANAGEMENT_KEY, body)

    @property
    def issued_on(self) -> datetime.date:
        """The day of issue, in Japan."""
        return jst_date(self.issued_ms)

    @property
    def expires_on(self) -> datetime.date:
        """The card's last day."""
        person = self.holder.person
        return card_valid_until(person.birth_date, self.issued_on, person.stay_until)

    @property
    def kinds(self) -> tuple[CertificateKind, ...]:
        """The certificates of this holder: none for signatures under 15."""
        of_age = age_on(self.holder.person.birth_date, self.issued_on) >= SIGNATURE_MIN_AGE
        return ("authentication", "signature") if of_age else ("authentication",)

    @property
    def pins(self) -> tuple[PinName, ...]:
        """The PINs of this holder."""
        return tuple(pin for pin in TEST_PINS if pin != "signature" or "signature" in self.kinds)

    @property
    def security_code(self) -> str:
        """The four digits printed on the card, derived from the card id as the centre does."""
        device = self.maker.authority.device
        mac = device.mac(device.find(CODE_KEY, "mac"), self.card_id.encode())
        return f"{int.from_bytes(mac, 'big') % 10_000:04}"

    async def personalise(self) -> None:
        """Certificates, keys and every file; the chip's life state stays ``made``."""
        self.chip.give_keys(await _chip_keys())
        roots = self.maker.authority.register().roots
        jpki: list[IssuerCommand] = []
        for kind, (_, root_file) in CERTIFICATE_FILES.items():
            jpki += put_ef(JPKI, root_file, roots["signature" if kind == "signature" else "authentication"])
        for kind in self.kinds:
            jpki += await self._certificate(kind)
        jpki += put_ef(JPKI, layout.TOKEN_INFO, files.token_info(self.card_id))
        jpki.append(self._availability(usable=False))
        own = own_keys(await client.read_own_keys(self.chip.transmit))
        await self.chip.write("personalise", jpki=jpki, own=self._own_files(own))

    async def set_up(self) -> None:
        """The set-up before delivery (交付前設定)."""
        await self.chip.write("set_up", jpki=[self._availability(usable=False)], own=[set_life_state("set_up")])

    async def hand_over(self, pins: dict[PinName, str]) -> None:
        """The delivery: windows, the holder's PINs, and the card is in use."""
        places = [place for pin in self.pins for place in PIN_PLACES[pin]]
        windows = [open_pin_window(aid, reference) for aid, reference in places]
        await self.chip.write("open_windows", jpki=_of_domain(windows, JPKI), own=_of_domain(windows, ISD))
        by_place = {place: pins[pin] for pin in self.pins for place in PIN_PLACES[pin]}
        await self.chip.set_pins(by_place, self.maker.authority.device.public_key(MANAGEMENT_KEY))
        await self.chip.write(
            "activate",
            jpki=[close_pin_windows(JPKI), self._availability(usable=True)],
            own=[*(close_pin_windows(aid) for aid, _ in places if aid != JPKI), set_life_state("in_use")],
        )

    def made(self, pins: dict[PinName, str]) -> MadeCard:
        """What the developer is told."""
        person = self.holder.person
        return MadeCard(
            card_id=self.card_id,
            persona=self.persona.name,
            name=person.name,
            birth_date=person.birth_date,
            expires_on=self.expires_on,
            pins={pin: pins[pin] for pin in self.pins},
            individual_number=self.holder.individual_number,
            verification_number_b=verification_number_b(person.birth_date, self.expires_on, self.security_code),
            birth_key=birth_key(person.birth_date),
            certificates=self.maker.authority.register().of_card(self.card_id),
        )

    def _availability(self, *, usable: bool) -> IssuerCommand:
        return set_certificate_availability(
            signature=usable and "signature" in self.kinds, authentication=usable and "authentication" in self.kinds
        )

    async def _certificate(self, kind: CertificateKind) -> tuple[IssuerCommand, ...]:
        """A fresh key pair and its certificate, as commands."""
        pair = await SystemCrypto(1).generate_key_pair("rsa-2048")
        order = CertificateOrder(
            ca=kind,
            card_id=self.card_id,
            persona=self.persona.name,
            municipality=self.holder.person.municipality,
            content=self._content(kind, pair.public_key),
        )
        issued = self.certificates[kind] = self.maker.authority.issue(order)
        return (put_key_pair(kind, pair.private_key), *put_ef(JPKI, CERTIFICATE_FILES[kind][0], issued.der))

    def _content(self, kind: CertificateKind, public_key: bytes) -> Content:
        person, point = self.holder.person, point_of(self.holder.person.municipality)
        validity: Validity = certificate_validity(self.issued_ms, person.birth_date, self.expires_on)
        if kind == "authentication":
            stamp = self.maker.entropy.random_bytes(7).hex().upper()
            name = common_name(stamp, person.municipality)
            return AuthenticationContent(
                serial=1, public_key=public_key, validity=validity, common_name=name, point=point
            )
        stamp = datetime.datetime.fromtimestamp(self.issued_ms / 1000, JST).strftime("%Y%m%d%H%M%S")
        name = common_name(stamp, person.municipality)
        subscriber = subscriber_data(person, municipality=person.municipality, point=point, common_name=name)
        return SignatureContent(serial=1, public_key=public_key, validity=validity, subscriber=subscriber)

    def _own_files(self, chip_keys: ChipPublicKeys) -> tuple[IssuerCommand, ...]:
        """Everything of card management's applets, signed."""
        authority = self.maker.authority
        card = self._contents(chip_keys)
        modulus = contents.modulus_of(authority.device.public_key(MANAGEMENT_KEY))
        signatures = {name: authority.sign_contents(each) for name, each in contents.to_sign(card, modulus).items()}
        return contents.personalisation(card, modulus, signatures)

    def _contents(self, chip_keys: ChipPublicKeys) -> CardContents:
        person, artwork = self.holder.person, self.maker.artwork
        age = age_on(person.birth_date, self.issued_on)
        return CardContents(
            card_id=self.card_id,
            person=person,
            resident_code=self.holder.resident_code,
            individual_number=self.holder.individual_number,
            security_code=self.security_code,
            expires_on=self.expires_on,
            pictures=Pictures(
                name=artwork.name_image(person.name).png,
                address=artwork.address_image(person.address).png,
                number=artwork.number_image(self.holder.individual_number),
                code=artwork.code_image(self.security_code),
                photo=artwork.portrait_jpeg2000(portrait(self.holder.photo_seed, age, person.sex)),
            ),
            chip_keys=chip_keys,
        )


async def _chip_keys() -> ChipKeys:
    """A chip's own keys, fresh."""
    with closing(SystemCrypto(2)) as crypto:
        return await KeyStock(crypto, ahead=0).take()


def _of_domain(commands: Sequence[IssuerCommand], aid: bytes) -> list[IssuerCommand]:
    return [command for command in commands if command.aid == aid]
