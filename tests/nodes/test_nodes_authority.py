"""JPKI's reception: what happens to certificates while other things happen to their card and their holder."""

import asyncio
import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from nodes_house import PERSON, House
from nodes_parts import run

from warifu.chip import client
from warifu.chip.issuer import JPKI, initialize_update
from warifu.contract.authority import (
    AskJpkiCardKeys,
    Certificates,
    JpkiCardKeys,
    JpkiPurpose,
    JpkiScript,
    OpenApplet,
    RevokeCertificates,
    WriteSettled,
)
from warifu.contract.errors import open_reply
from warifu.contract.message import Answer, Done, Request
from warifu.contract.values import CertificateKind, Person, ResidentEvent
from warifu.domain.certificates.errors import CardAlreadyMade, LeftRegister, StaleIdentity, WriteEnded
from warifu.domain.certificates.records import AppletWrite, CaGeneration, Certificate, KeyUse, StoredKeyPair
from warifu.kernel.errors import KeyReused, NotAllowed
from warifu.nodes.authority.signing import KINDS
from warifu.nodes.sealed_keys import FACTORY_KEY
from warifu.ports.store import Change, Insert

CHALLENGE = bytes(8)


class Desk:
    """A card whose JPKI applet the centre wants opened, for one channel."""

    def __init__(self, house: House, card_id: str, update: bytes) -> None:
        self.house, self.card_id, self.update = house, card_id, update
        self.operation, self.write_id, self.version = house.new_id(), house.new_id(), 1

    def request(self, purpose: JpkiPurpose = "replace_both") -> OpenApplet:
        card = self.house.card(self.card_id)
        return OpenApplet(
            card_id=self.card_id,
            write_id=self.write_id,
            purpose=purpose,
            host_challenge=CHALLENGE,
            initialize_update=self.update,
            person=PERSON,
            municipality=PERSON.municipality,
            card_expires_on=card.expires_on,
            resident_version=self.version,
        )

    async def opened(
        self, request: OpenApplet | None = None, *, sender: str = "center", step: str = "write:jpki"
    ) -> JpkiScript:
        """Ask as the centre does; the same request every time, under the same key."""
        request = request or self.request()
        asked = self.house.envelope(request, sender=sender, operation_id=self.operation, step=step)
        return open_reply(await self.house.send("authority", asked), JpkiScript)

    async def settle(self, outcome: str) -> None:
        told = WriteSettled(card_id=self.card_id, write_id=self.write_id, outcome=outcome)  # type: ignore[arg-type]
        await tell(self.house, told, Done, "center")


async def tell(house: House, request: Request, answer: type[Answer], sender: str) -> Answer:
    return open_reply(await house.send("authority", house.envelope(request, sender=sender)), answer)


async def desk(house: House, card_id: str = "") -> Desk:
    """A card in use in a reader, its channel begun."""
    if not card_id:
        card_id = await house.card_at_counter()
        await house.perform("setup", card_id)
        await house.perform("delivery", card_id)
    connection = await house.reader.connect(card_id)
    await client.select_applet(connection.transmit, JPKI)
    return Desk(house, card_id, await connection.transmit(initialize_update(CHALLENGE)))


def states(house: House, write_id: str | None = None) -> list[tuple[str, str]]:
    """Kind and state of each certificate, oldest first; with ``write_id`` only those issued for it."""
    rows = [row for row in house.stores["authority"].records(Certificate) if isinstance(row, Certificate)]
    chosen = sorted(rows, key=lambda row: (row.ca, row.serial))
    return [(row.ca, row.state) for row in chosen if write_id is None or row.write_id == write_id]


def pairs_kept(house: House) -> set[str]:
    """What the key pairs that are not destroyed were used for, by the consumption log."""
    store = house.stores["authority"]
    kept = {row.key_pair_id for row in store.records(StoredKeyPair) if isinstance(row, StoredKeyPair) and row.wrapped}
    uses = (row for row in store.records(KeyUse) if isinstance(row, KeyUse))
    return {f"{use.ca}:{use.serial}" for use in uses if use.key_pair_id in kept}


class Gate:
    """Holds the authorities' signatures back."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()


@contextmanager
def gate(house: House) -> Iterator[Gate]:
    """Signing waits at the gate, as it would for a slow HSM."""
    held, signer = Gate(), house.authority.signer
    one, many = signer.sign, signer.sign_many

    async def sign(generation: CaGeneration, tbs: bytes, deadline_ms: int) -> bytes:
        held.reached.set()
        await held.open.wait()
        return await one(generation, tbs, deadline_ms)

    async def sign_many(generation: CaGeneration, texts: Sequence[bytes], deadline_ms: int) -> list[bytes]:
        held.reached.set()
        await held.open.wait()
        return await many(generation, texts, deadline_ms)

    signer.sign, signer.sign_many = sign, sign_many  # type: ignore[method-assign]
    try:
        yield held
    finally:
        signer.sign, signer.sign_many = one, many  # type: ignore[method-assign]


# ---- the card write ends while its certificates are being issued -------------------------------------------------


@pytest.mark.parametrize("outcome", ["undone", "finished"])
def test_nothing_is_signed_for_a_card_write_that_has_ended(outcome: str) -> None:
    """The end found two intents; the signatures that come late make no certificates of them."""

    async def settled_meanwhile() -> None:
        async with House().running() as house:
            at = await desk(house)
            with gate(house) as held:
                async with asyncio.TaskGroup() as group:
                    asking = group.create_task(outcome_of(at))
                    await held.reached.wait()
                    assert states(house, at.write_id) == [("authentication", "intent"), ("signature", "intent")]
                    await at.settle(outcome)
                    held.open.set()
                assert asking.result() is WriteEnded
            assert states(house, at.write_id) == [("authentication", "abandoned"), ("signature", "abandoned")]
            assert pairs_kept(house) == set()
            said = await house.register_says(at.card_id)
            assert said == [("authentication", "valid"), ("signature", "valid")]

    run(settled_meanwhile())


@pytest.mark.parametrize("event", ["undone", "death", "name"])
def test_no_intent_is_recorded_after_what_would_have_ended_it(event: str) -> None:
    """The end, or the change, comes between the look at the register and the record of the intent."""
    errors = {"undone": WriteEnded, "death": LeftRegister, "name": StaleIdentity}

    async def in_between() -> None:
        async with House().running() as house:
            at = await desk(house)
            signer, real = house.authority.signer, house.authority.signer.next_serial

            async def ended_meanwhile(kind: CertificateKind) -> int:
                signer.next_serial = real  # type: ignore[method-assign]
                if event == "undone":
                    await at.settle("undone")
                else:
                    person = RENAMED if event == "name" else PERSON
                    await house.change(house.card(at.card_id).resident_id, event, person)  # type: ignore[arg-type]
                return await real(kind)

            signer.next_serial = ended_meanwhile  # type: ignore[method-assign]
            assert await outcome_of(at) is errors[event]
            assert states(house, at.write_id) == []
            assert pairs_kept(house) == set()

    run(in_between())


def test_nothing_is_intended_for_a_card_write_that_has_ended() -> None:
    async def settled_before() -> None:
        async with House().running() as house:
            at = await desk(house)
            await at.settle("undone")
            assert await outcome_of(at) is WriteEnded
            assert states(house, at.write_id) == []

    run(settled_before())


# ---- the resident's record changes while certificates are being issued -------------------------------------------

RENAMED = msgspec.structs.replace(PERSON, name="割符　華子")


async def while_issuing(house: House, at: Desk, event: ResidentEvent, person: Person) -> type:
    """Two intents wait for their signatures when the registry's change arrives; how the first run ended."""
    with gate(house) as held:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(outcome_of(at))
            await held.reached.wait()
            await house.change(house.card(at.card_id).resident_id, event, person)
            held.open.set()
    return asking.result()


def test_a_change_while_issuing_asks_for_the_new_record_and_certifies_that() -> None:
    async def renamed() -> None:
        async with House().running() as house:
            at = await desk(house)
            assert await while_issuing(house, at, "name", RENAMED) is StaleIdentity
            assert states(house, at.write_id) == [("authentication", "intent")]
            assert await outcome_of(at) is StaleIdentity
            fresh = msgspec.structs.replace(at.request(), person=RENAMED, resident_version=2)
            await at.opened(fresh)
            assert states(house, at.write_id) == [("authentication", "issued"), ("signature", "issued")]
            await at.settle("finished")
            newest = await house.newest(at.card_id, "signature")
            name = RENAMED.name.encode()
            assert name in newest.der
            assert newest.state == "valid"
            assert pairs_kept(house) == set()

    run(renamed())


def test_a_death_while_issuing_ends_it() -> None:
    async def died() -> None:
        async with House().running() as house:
            at = await desk(house)
            assert await while_issuing(house, at, "death", PERSON) is LeftRegister
            assert ("authentication", "intent") not in states(house)
            assert pairs_kept(house) == set()
            said = await house.register_says(at.card_id)
            assert [reason for _, reason in said] == ["cessation_of_operation"] * 2

    run(died())


def test_who_does_not_say_the_version_hears_of_a_change_all_the_same() -> None:
    async def untold() -> None:
        async with House().running() as house:
            at = await desk(house)
            at.version = 0
            await house.change(house.card(at.card_id).resident_id, "name", RENAMED)
            changed = msgspec.structs.replace(RENAMED, name="割符　葉奈子")
            assert await while_issuing(house, at, "name", changed) is StaleIdentity

    run(untold())


def test_a_clerk_sees_nothing_of_a_change_in_the_middle() -> None:
    """The same run of the same operation ends with a certificate of the new name."""

    async def renewed() -> None:
        async with House().running() as house:
            at = await desk(house)
            with gate(house) as held:
                async with asyncio.TaskGroup() as group:
                    renewing = group.create_task(house.perform("certificate_renewal", at.card_id))
                    await held.reached.wait()
                    await house.change(house.card(at.card_id).resident_id, "name", RENAMED)
                    held.open.set()
            assert renewing.result().outcome == "done"
            assert RENAMED.name.encode() in (await house.newest(at.card_id, "signature")).der
            said = await house.register_says(at.card_id)
            assert [state for kind, state in said if kind == "signature"] == ["affiliation_changed", "valid"]

    run(renewed())


def test_a_change_between_intent_and_signature_at_the_factory_is_made_good_by_the_next_run() -> None:
    async def produced() -> None:
        async with House().running() as house:
            resident = await house.register()
            await house.apply(resident)
            with gate(house) as held:
                async with asyncio.TaskGroup() as group:
                    making = group.create_task(house.produce())
                    await held.reached.wait()
                    await house.change(resident, "name", RENAMED)
                    held.open.set()
            assert making.result().failed == 1
            assert (await house.produce()).made == 1
            issued = [("authentication", "issued"), ("signature", "abandoned"), ("signature", "issued")]
            assert states(house) == issued
            assert house.card("WRF000000000001").has_signature

    run(produced())


# ---- key pairs ---------------------------------------------------------------------------------------------------


def test_the_same_request_gets_the_same_script_which_is_kept_nowhere() -> None:
    """It is made anew from what was issued for the write; once the write has ended there is none."""

    async def asked_twice() -> None:
        async with House().running() as house:
            at = await desk(house)
            first = await at.opened()
            again = await at.opened()
            assert again == first
            assert sum(map(len, first.commands)) > 2 * 2048 // 8
            kept = [remembered[1] for remembered in house.stores["authority"]._state.answers.values()]
            assert not any(command in answer for command in first.commands for answer in kept)
            await at.settle("finished")
            assert await outcome_of(at) is WriteEnded

    run(asked_twice())


@pytest.mark.parametrize("purpose", get_args(JpkiPurpose))
def test_every_script_is_made_anew_alike(purpose: JpkiPurpose) -> None:
    async def asked_twice() -> None:
        async with House().running() as house:
            at = await desk(house, "" if purpose != "personalise" else await half_made(house))
            sender = "issuance" if purpose == "personalise" else "center"
            request = at.request(purpose)
            assert await at.opened(request, sender=sender) == await at.opened(request, sender=sender)

    run(asked_twice())


async def half_made(house: House) -> str:
    """A card whose personalisation broke off."""
    await house.apply(await house.register())
    house.reader.pull(20, after=False)
    assert (await house.produce()).failed == 1
    return "WRF000000000001"


def test_a_script_whose_certificate_was_revoked_is_not_given_again() -> None:
    async def revoked() -> None:
        async with House().running() as house:
            at = await desk(house)
            await at.opened()
            hit = RevokeCertificates(card_id=at.card_id, event="suspension")
            await tell(house, hit, Certificates, "center")
            assert await outcome_of(at) is WriteEnded

    run(revoked())


def test_a_card_on_which_hundreds_of_writes_failed_is_still_served() -> None:
    """What ended is no longer looked at: a store reads so much at once and no more."""

    async def served() -> None:
        async with House().running() as house:
            at = await desk(house)
            store = house.stores["authority"]
            first = next(row for row in store.records(Certificate) if isinstance(row, Certificate))
            ended = [
                msgspec.structs.replace(
                    first, version=0, serial=10_000 + number, state=("abandoned", "revoked")[number % 2],
                    reason="unspecified", key_pair_id=house.new_id(), write_id=house.new_id(),
                )
                for number in range(200)
            ]  # fmt: skip
            await store.commit(Change(now_ms=0, writes=tuple(map(Insert, ended))))
            await at.opened()
            await at.settle("undone")
            assert {state for _, state in states(house, at.write_id)} == {"revoked"}
            await tell(house, RevokeCertificates(card_id=at.card_id, event="abolition"), Certificates, "center")
            assert {state for _, state in states(house)} == {"abandoned", "revoked"}

    run(served())


def test_no_card_write_goes_on_without_a_certificate_that_was_revoked_meanwhile() -> None:
    """Nor under another key (the answer was lost, and the record asked about is another): the holder would get none."""

    async def revoked() -> None:
        async with House().running() as house:
            at = await desk(house)
            await at.opened()
            await house.change(house.card(at.card_id).resident_id, "name", RENAMED)
            await house.settled()
            with pytest.raises(WriteEnded):
                await at.opened(msgspec.structs.replace(at.request(), person=RENAMED, resident_version=2), step="again")

    run(revoked())


def test_the_same_key_with_another_channel_is_refused() -> None:
    async def reused() -> None:
        async with House().running() as house:
            at = await desk(house)
            await at.opened()
            with pytest.raises(KeyReused):
                await at.opened(msgspec.structs.replace(at.request(), host_challenge=bytes(7) + b"x"))

    run(reused())


def test_a_card_write_is_opened_for_one_purpose() -> None:
    async def another() -> None:
        async with House().running() as house:
            at = await desk(house)
            await at.opened(at.request("permit"))
            with pytest.raises(KeyReused):
                await at.opened(at.request("disable"), step="another")

    run(another())


def test_a_holder_who_dies_during_production_leaves_no_key_pair() -> None:
    async def died() -> None:
        async with House().running() as house:
            card_id = await half_made(house)
            assert pairs_kept(house) != set()
            await house.change(house.card(card_id).resident_id, "death", PERSON)
            assert pairs_kept(house) == set()
            assert [reason for _, reason in await house.register_says(card_id)] == ["cessation_of_operation"] * 2

    run(died())


# ---- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days_before", "years"), [(60, 5), (120, 4)])
def test_an_early_renewal_within_three_months_loses_no_year(days_before: int, years: int) -> None:
    """Both were valid to the fifth birthday; who comes in the last three months gets five more."""

    async def renewed() -> None:
        async with House().running() as house:
            card_id = (await desk(house)).card_id
            before = {kind: (await house.newest(card_id, kind)).not_after for kind in KINDS}
            assert set(before.values()) == {datetime.date(2031, 2, 17)}
            house.clock.days = (before["signature"] - house.clock.today()).days - days_before
            await house.perform("certificate_renewal", card_id)
            after = {(await house.newest(card_id, kind)).not_after for kind in KINDS}
            assert after == {datetime.date(2031 + years, 2, 17)}

    run(renewed())


def test_a_list_from_the_future_is_made_again_once_the_clock_is_right() -> None:
    async def set_back() -> None:
        async with House().running() as house:
            house.clock.days = 400
            wrong = x509.load_der_x509_crl(await house.responder.list("signature"))
            house.clock.days = 0
            right = x509.load_der_x509_crl(await house.responder.list("signature"))
            now = datetime.datetime.fromtimestamp(house.clock.now_ms() / 1000, datetime.UTC)
            assert right.last_update_utc <= now < wrong.last_update_utc
            assert number(right) == number(wrong) + 1
            assert await house.responder.list("signature") == right.public_bytes(Encoding.DER)

    run(set_back())


def number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


# ---- who may ask for what ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", ["issuance", "center"])
def test_the_factory_opens_applets_to_personalise_and_nobody_else_does(sender: str) -> None:
    async def asked() -> None:
        async with House().running() as house:
            at = await desk(house, await half_made(house))
            for purpose in get_args(JpkiPurpose):
                at.write_id = house.new_id()
                if (purpose == "personalise") is (sender == "issuance"):
                    continue
                with pytest.raises(NotAllowed):
                    await at.opened(at.request(purpose), sender=sender, step=purpose)
            assert [state for purpose, state in writes_of(house, at.card_id)] == ["open"]

    run(asked())


def test_a_card_that_was_made_gets_no_keys_and_is_not_personalised_again() -> None:
    async def asked() -> None:
        async with House().running() as house:
            at = await desk(house, await house.card_at_counter())
            public = house.devices["issuance"].device.public_key(FACTORY_KEY)
            keys = AskJpkiCardKeys(card_id=at.card_id, factory_key=public)
            with pytest.raises(CardAlreadyMade):
                await tell(house, keys, JpkiCardKeys, "issuance")
            with pytest.raises(CardAlreadyMade):
                await at.opened(at.request("personalise"), sender="issuance")
            fresh = msgspec.structs.replace(keys, card_id="WRF000000000009")
            assert isinstance(await tell(house, fresh, JpkiCardKeys, "issuance"), JpkiCardKeys)

    run(asked())


async def outcome_of(at: Desk) -> type:
    """The type of the answer or of the error."""
    try:
        return type(await at.opened())
    except (WriteEnded, StaleIdentity, LeftRegister) as error:
        return type(error)


def writes_of(house: House, card_id: str) -> list[tuple[str, str]]:
    rows = [row for row in house.stores["authority"].records(AppletWrite) if isinstance(row, AppletWrite)]
    return [(row.purpose, row.state) for row in sorted(rows, key=lambda row: row.write_id) if row.card_id == card_id]
