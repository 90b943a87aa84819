"""Status: every request that any responder receives after a revocation's commit is acknowledged answers revoked."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as library
from nodes_house import HERE, House
from nodes_parts import run

from warifu.adapters.net.http import HttpRequest
from warifu.adapters.net.relying import relying_edge
from warifu.adapters.store.memory import MemoryStore, StoreHooks
from warifu.contract.authority import RevokeCertificates, RevokeSerials, Withdrawn
from warifu.contract.errors import open_reply
from warifu.domain.certificates.records import CaGeneration, Certificate, ListRevision, Revocation
from warifu.domain.pki import ocsp, profile
from warifu.domain.pki.dates import Validity
from warifu.domain.pki.ocsp import Good, Revoked, Unknown
from warifu.domain.pki.ocsp_forms import AnswerForm
from warifu.domain.pki.profile import Profile, RootContent, assemble, root_tbs
from warifu.kernel.errors import NotFound, Unavailable
from warifu.nodes.responder import REUSED_MS, Responder
from warifu.nodes.status_look import Looks
from warifu.ports.hsm import CreateKey, Sign
from warifu.ports.store import Change, Find, Get, Insert, RequestKey, Snapshot, Update, Write
from warifu.verify import Anchors, CertificateRevoked, open_list, verify_response

CA: Final = "signature"


class Slow(StoreHooks):
    """Reads and commits that take a drawn number of steps before and after."""

    def __init__(self, seed: int) -> None:
        self._dice = Random(seed)  # noqa: S311 - a schedule

    async def _dawdle(self) -> None:
        for _ in range(self._dice.randrange(6)):
            await asyncio.sleep(0)

    async def before_read(self) -> None:
        await self._dawdle()

    async def before_commit(self, change: Change) -> None:
        del change
        await self._dawdle()

    async def after_commit(self, change: Change) -> None:
        del change
        await self._dawdle()


class Late(MemoryStore):
    """What it read is long on its way: meanwhile others commit, and hear that they did."""

    def __init__(self, seed: int) -> None:
        super().__init__(())
        self._dice = Random(seed)  # noqa: S311 - a schedule

    async def read(self, *reads: Get | Find, request: RequestKey | None = None) -> Snapshot:
        found = await super().read(*reads, request=request)
        for _ in range(self._dice.randrange(40)):
            await asyncio.sleep(0)
        return found

    @classmethod
    def over(cls, store: MemoryStore, seed: int) -> "Late":
        late = cls(seed)
        late._state = store._state
        return late


class Counting(MemoryStore):
    """Tells how many reads there were."""

    reads = 0

    async def read(self, *reads: Get | Find, request: RequestKey | None = None) -> Snapshot:
        self.reads += 1
        return await super().read(*reads, request=request)


def certificate(serial: int, state: str = "valid") -> Certificate:
    return Certificate(
        ca=CA,
        serial=serial,
        generation=1,
        card_id=f"card{serial}",
        resident_id=f"resident{serial}",
        municipality=f"{serial % 2:06d}",
        key_pair_id=f"pair{serial}",
        state=state,
        not_after=datetime.date(2030, 1, 1),
        tbs=b"",
        changed_ms=1,
    )


async def put(store: MemoryStore, *writes: Write) -> None:
    await store.commit(Change(now_ms=1, writes=writes))


async def revoke(store: MemoryStore, serial: int) -> None:
    """As the rule does: the certificate and its list's revision in one commit."""
    snapshot = await store.read(Get(Certificate, (CA, serial)), Get(ListRevision, (CA, f"{serial % 2:06d}")))
    before, revision = snapshot.one(0, Certificate), snapshot.one(1, ListRevision)
    assert before is not None
    fields = {name: getattr(before, name) for name in before.__struct_fields__}
    after = Certificate(**fields | {"state": "revoked", "reason": "superseded", "revoked_ms": 5})
    fresh = ListRevision(ca=CA, municipality=before.municipality, changed_ms=5)
    moved = (
        Update(ListRevision(ca=CA, municipality=before.municipality, changed_ms=5, version=revision.version))
        if revision
        else Insert(fresh)
    )
    await put(store, Update(after), moved)


@asynccontextmanager
async def looking(*looks: Looks) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.run()) for each in looks]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


# ---- looks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_whoever_asks_after_the_commit_was_acknowledged_hears_of_it(seed: int) -> None:
    """Three responders, each with a memory of its own, asked all the time while certificates are revoked."""

    async def story() -> None:
        store = MemoryStore((Certificate, ListRevision), hooks=Slow(seed))
        await put(store, *(Insert(certificate(serial)) for serial in range(1, 9)))
        looks = [Looks(Late.over(store, seed * 10 + number), remembered=5) for number in range(3)]
        acknowledged: set[int] = set()
        dice, heard = Random(seed), 0  # noqa: S311 - a schedule

        async def revoking() -> None:
            for serial in dice.sample(range(1, 9), 8):
                await revoke(store, serial)
                acknowledged.add(serial)
                for _ in range(dice.randrange(30)):
                    await asyncio.sleep(0)

        async def asking(own: Looks, dice: Random) -> None:
            nonlocal heard
            while len(acknowledged) < 8:
                for _ in range(dice.randrange(60)):
                    await asyncio.sleep(0)  # so that some ask while a read is on its way
                keys = [(CA, serial) for serial in dice.sample(range(1, 9), 3)]
                known = set(acknowledged)
                told = await own.statuses(keys)
                for (_, serial), each in zip(keys, told, strict=True):
                    assert isinstance(each.status, Revoked) or serial not in known
                    heard += isinstance(each.status, Revoked)

        async with looking(*looks), asyncio.TaskGroup() as group:
            group.create_task(revoking())
            for number in range(9):
                group.create_task(asking(looks[number % 3], Random(seed * 100 + number)))  # noqa: S311 - likewise
        assert heard

    run(story())


def test_many_questions_are_one_read_and_what_stands_is_told_by_one_small_row() -> None:
    async def story() -> None:
        store = Counting((Certificate, ListRevision))
        await put(store, *(Insert(certificate(serial)) for serial in range(1, 101)))
        looks = Looks(store)
        async with looking(looks):
            for _ in range(3):  # where to look; together with the revision; the revision alone
                store.reads = 0
                asked = [looks.statuses([(CA, serial)]) for serial in range(1, 31)]
                told = await asyncio.gather(*asked)
                assert {type(each.status) for (each,) in told} == {Good}
                assert store.reads == 1

    run(story())


def test_what_is_not_signed_yet_is_unknown_and_never_remembered() -> None:
    async def story() -> None:
        store = MemoryStore((Certificate, ListRevision))
        await put(store, Insert(certificate(1, "intent")))
        looks = Looks(store)
        async with looking(looks):
            assert isinstance((await looks.statuses([(CA, 1)]))[0].status, Unknown)
            found = (await store.read(Get(Certificate, (CA, 1)))).one(0, Certificate)
            assert found is not None
            await put(
                store,
                Update(
                    Certificate(
                        **{name: getattr(certificate(1), name) for name in found.__struct_fields__} | {"version": 1}
                    )
                ),
            )
            assert isinstance((await looks.statuses([(CA, 1)]))[0].status, Good)

    run(story())


def test_a_register_that_does_not_answer_fails_those_who_wait_and_nobody_later() -> None:
    class Broken(StoreHooks):
        broken = True

        async def before_read(self) -> None:
            if self.broken:
                raise Unavailable("down")

    async def story() -> None:
        hooks = Broken()
        looks = Looks(MemoryStore((Certificate, ListRevision), hooks=hooks))
        async with looking(looks):
            with pytest.raises(Unavailable):
                await looks.statuses([(CA, 1)])
            hooks.broken = False
            assert isinstance((await looks.statuses([(CA, 1)]))[0].status, Unknown)

    run(story())


def test_one_who_goes_away_takes_no_answer_from_the_others() -> None:
    async def story() -> None:
        store = MemoryStore((Certificate, ListRevision), hooks=Slow(1))
        await put(store, Insert(certificate(1)))
        looks = Looks(store)
        async with looking(looks), asyncio.TaskGroup() as group:
            gone = group.create_task(looks.statuses([(CA, 1)]))
            stays = group.create_task(looks.statuses([(CA, 1)]))
            await asyncio.sleep(0)
            gone.cancel()
            assert isinstance((await stays)[0].status, Good)

    run(story())


def test_when_it_ends_those_whose_look_is_being_read_are_told_too() -> None:
    class Silent(StoreHooks):
        async def before_read(self) -> None:
            await asyncio.Event().wait()

    async def story() -> None:
        looks = Looks(MemoryStore((Certificate, ListRevision), hooks=Silent()))
        running = asyncio.create_task(looks.run())
        read = asyncio.create_task(looks.statuses([(CA, 1)]))
        for _ in range(5):
            await asyncio.sleep(0)
        next_one = asyncio.create_task(looks.statuses([(CA, 2)]))
        await asyncio.sleep(0)
        running.cancel()
        async with asyncio.timeout(1):
            for waiting in (read, next_one):
                with pytest.raises(Unavailable):
                    await waiting

    run(story())


# ---- responders ----------------------------------------------------------------------------------------------------


async def another(house: House, name: str) -> Responder:
    return Responder(house.world(name), house.stores["authority"], house.pool("responder"), Profile(), house.shelf)


async def in_use(house: House) -> tuple[str, Certificate]:
    """A card in use, and its signature certificate."""
    card_id = await house.card_at_counter()
    await house.perform("setup", card_id)
    await house.perform("delivery", card_id)
    rows = [row for row in house.stores["authority"].records(Certificate) if isinstance(row, Certificate)]
    return card_id, next(row for row in rows if row.ca == CA and row.state == "valid")


def question(house: House, generation: CaGeneration, serial: int, nonce: bytes | None = None) -> bytes:
    return ocsp.request([ocsp.cert_id(house.authority.signer.authority(generation), serial)], nonce)


def status_of(der: bytes) -> library.OCSPCertStatus:
    return library.load_der_ocsp_response(der).certificate_status


def test_every_responder_answers_revoked_at_once_also_from_what_it_has_given_before() -> None:
    async def story() -> None:
        async with House().running() as house:
            card_id, leaf = await in_use(house)
            generation = await house.authority.signer.newest(CA)
            responders = [await another(house, "responder") for _ in range(3)]
            data = question(house, generation, leaf.serial)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each.run()) for each in responders]
                for _ in range(4):
                    answers = await asyncio.gather(*(each.answer(data) for each in responders for _ in range(5)))
                    assert {status_of(der) for der in answers} == {library.OCSPCertStatus.GOOD}
                assert len({responders[0]._kept[data].der, await responders[0].answer(data)}) == 1  # given again
                revoked = house.envelope(RevokeCertificates(card_id=card_id, event="key_compromise"), sender="center")
                await house.send("authority", revoked)
                answers = await asyncio.gather(*(each.answer(data) for each in responders for _ in range(5)))
                assert {status_of(der) for der in answers} == {library.OCSPCertStatus.REVOKED}
                for task in tasks:
                    task.cancel()
            anchors = Anchors.of([generation.der])
            for place in ("", HERE):
                crl = await house.responder.list(CA, place)
                with pytest.raises(CertificateRevoked):
                    open_list(crl, anchors, at_ms=house.clock.now_ms()).check(leaf.der)

    run(story())


def test_an_answer_grows_old_and_is_signed_anew() -> None:
    async def story() -> None:
        async with House().running() as house:
            _, leaf = await in_use(house)
            data = question(house, await house.authority.signer.newest(CA), leaf.serial)
            await house.responder.answer(data)
            first = await house.responder.answer(data)
            assert await house.responder.answer(data) == first
            await asyncio.sleep(REUSED_MS / 1000)
            assert await house.responder.answer(data) != first

    run(story())


def test_answers_with_a_nonce_are_never_given_again() -> None:
    async def story() -> None:
        async with House().running() as house:
            _, leaf = await in_use(house)
            generation = await house.authority.signer.newest(CA)
            for nonce in (b"1" * 16, b"2" * 16):
                answer = await house.responder.answer(question(house, generation, leaf.serial, nonce))
                now_ms = house.clock.now_ms()
                verify_response(answer, leaf.der, Anchors.of([generation.der]), at_ms=now_ms, nonce=nonce)
            assert not house.responder._kept

    run(story())


def test_answers_by_their_form_are_looked_at_octet_by_octet_and_say_what_the_register_says() -> None:
    async def story() -> None:
        async with House().running() as house:
            card_id, leaf = await in_use(house)
            generation = await house.authority.signer.newest(CA)
            anchors, looked, told = Anchors.of([generation.der]), list[bytes](), list[library.OCSPCertStatus]()
            check = AnswerForm.check

            def looking(form: AnswerForm, tbs: bytes, request: ocsp.OcspRequest) -> None:
                looked.append(tbs)
                check(form, tbs, request)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(AnswerForm, "check", looking)
                for number in range(4):
                    if number == 2:
                        revoke = RevokeCertificates(card_id=card_id, event="key_compromise")
                        await house.send("authority", house.envelope(revoke, sender="center"))
                    nonce = bytes([number]) * 16
                    answer = await house.responder.answer(question(house, generation, leaf.serial, nonce))
                    told.append(status_of(answer))
                    if number < 2:
                        verify_response(answer, leaf.der, anchors, at_ms=house.clock.now_ms(), nonce=nonce)
            assert told == [*[library.OCSPCertStatus.GOOD] * 2, *[library.OCSPCertStatus.REVOKED] * 2]
            assert len(looked) == 2  # a revoked one is written and linted whole, each with an instant of its own

    run(story())


def test_serials_nobody_was_given_are_unknown_and_strangers_unauthorized() -> None:
    async def story() -> None:
        async with House().running() as house:
            generation = await house.authority.signer.newest(CA)
            assert (
                status_of(await house.responder.answer(question(house, generation, 77)))
                is library.OCSPCertStatus.UNKNOWN
            )
            stranger = profile.Authority(
                kind="signature", public_key=(await house.authority.signer.newest("authentication")).public_key
            )
            said = await house.responder.answer(ocsp.request([ocsp.cert_id(stranger, 77)]))
            assert library.load_der_ocsp_response(said).response_status is library.OCSPResponseStatus.UNAUTHORIZED

    run(story())


async def next_generation(house: House) -> CaGeneration:
    """A key ceremony's result, while everything runs."""
    signer = house.authority.signer
    old = await signer.newest(CA)
    label = f"jpki-ca-{CA}-{old.generation + 1}"
    public_key = await signer.hsm.bytes_of(CreateKey(label, "sign"), 1000)
    authority = profile.Authority(kind="signature", public_key=public_key)
    now_ms = house.clock.now_ms() // 1000 * 1000
    validity = Validity(not_before_ms=now_ms, not_after_ms=now_ms + 10 * 365 * 86_400_000)
    tbs = root_tbs(authority, RootContent(serial=await signer.next_serial(CA), validity=validity))
    der = assemble(tbs, await signer.hsm.bytes_of(Sign(label, tbs), 1000))
    made = CaGeneration(ca=CA, generation=old.generation + 1, key_label=label, public_key=public_key, der=der)
    await put(house.stores["authority"], Insert(made))
    signer._generations.clear()
    return made


def test_each_generation_answers_and_lists_for_the_certificates_it_signed() -> None:
    """Two keys under one name: answers are signed by a responder that the asked key delegated, lists by that key."""

    async def story() -> None:
        async with House().running() as house:
            _, leaf = await in_use(house)
            old = await house.authority.signer.newest(CA)
            await house.responder.answer(question(house, old, leaf.serial))
            new = await next_generation(house)
            await asyncio.sleep(2)
            both = Anchors.of([old.der, new.der])
            for _ in range(2):
                said = await house.responder.answer(question(house, old, leaf.serial, b"n" * 16))
                verify_response(said, leaf.der, both, at_ms=house.clock.now_ms(), nonce=b"n" * 16)
                assert (
                    status_of(await house.responder.answer(question(house, new, 77))) is library.OCSPCertStatus.UNKNOWN
                )
            now_ms = house.clock.now_ms()
            open_list(await house.responder.list(CA, "", old.generation), both, at_ms=now_ms).check(leaf.der)
            edge = relying_edge(house.responder)
            over_http = await edge(HttpRequest(method="GET", path=f"/crl/{CA}.{old.generation}/{HERE}.crl"))
            open_list(over_http.body, both, at_ms=now_ms).check(leaf.der)
            with pytest.raises(NotFound):
                await edge(HttpRequest(method="GET", path=f"/crl/{CA}.9.crl"))
            newest = open_list(await house.responder.list(CA), both, at_ms=now_ms)
            assert newest.anchor.certificate.public_bytes(Encoding.DER) == new.der

    run(story())


# ---- lists ---------------------------------------------------------------------------------------------------------


async def editions(house: House) -> Sequence[str]:
    return [name for name in house.shelf.files if name.startswith(f"{CA}-1-{HERE}/")]


def test_numbers_rise_across_restarts_and_only_the_newest_edition_stays() -> None:
    async def story() -> None:
        async with House().running() as house:
            card_id, _ = await in_use(house)
            first = x509.load_der_x509_crl(await house.responder.list(CA, HERE))
            again = x509.load_der_x509_crl(await house.responder.list(CA, HERE))
            assert first == again
            house.authority.lists._building.clear()  # another process knows nothing of this one's
            for event in ("suspension", "key_compromise"):
                request = RevokeCertificates(card_id=card_id, event=event)
                await house.send("authority", house.envelope(request, sender="center"))
                await house.responder.list(CA, HERE)
            last = x509.load_der_x509_crl(await house.responder.list(CA, HERE))
            numbers = [
                each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for each in (first, last)
            ]
            assert numbers == [1, 3]
            assert len(await editions(house)) == 1

    run(story())


def test_a_list_whose_file_is_gone_is_made_again_with_a_higher_number() -> None:
    """The database was restored on another machine: its shelf is empty."""

    async def story() -> None:
        async with House().running() as house:
            await house.responder.list(CA)
            house.shelf.files.clear()
            again = x509.load_der_x509_crl(await house.responder.list(CA))
            assert again.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2

    run(story())


def test_many_who_ask_for_a_changed_list_share_one() -> None:
    async def story() -> None:
        async with House().running() as house:
            lists = await asyncio.gather(*(house.responder.list(CA, HERE) for _ in range(10)))
            assert len(set(lists)) == 1
            assert len(await editions(house)) == 1

    run(story())


def test_a_compromised_batch_is_revoked_at_once_and_again_changes_nothing() -> None:
    """Three hundred keys of one batch; unknown numbers are told."""

    async def story() -> None:
        async with House().running() as house:
            store = house.stores["authority"]
            made = [certificate(serial) for serial in range(1, 301)]
            await put(store, *(Insert(msgspec.structs.replace(each, municipality=HERE)) for each in made))
            request = RevokeSerials(ca=CA, serials=tuple(range(1, 303)), event="key_compromise")
            asked = house.envelope(request)
            for _ in range(2):
                told = open_reply(await house.send("authority", asked), Withdrawn)
                assert (told.revoked, told.unknown) == (300, (301, 302))
            lines = [row for row in store.records(Revocation) if isinstance(row, Revocation)]
            assert {(row.serial, row.reason, row.version) for row in lines} == {
                (serial, "key_compromise", 1) for serial in range(1, 301)
            }
            assert len(x509.load_der_x509_crl(await house.responder.list(CA, HERE))) == 300

    run(story())


def test_a_mass_revocation_that_broke_off_goes_on() -> None:
    async def story() -> None:
        async with House().running() as house:
            store = house.stores["authority"]
            await put(store, *(Insert(certificate(serial)) for serial in range(1, 101)))
            await house.send(  # another request got as far as this one's middle
                "authority",
                house.envelope(RevokeSerials(ca=CA, serials=tuple(range(1, 50)), event="record_error")),
            )
            rest = RevokeSerials(ca=CA, serials=tuple(range(1, 101)), event="authority_compromise")
            told = await house.ask("authority", rest, Withdrawn)
            reasons = [row.reason for row in store.records(Certificate) if isinstance(row, Certificate)]
            assert told.revoked == 100
            assert reasons == ["affiliation_changed"] * 49 + ["ca_compromise"] * 51

    run(story())


def test_revoking_is_idempotent_and_a_hold_is_never_released() -> None:
    async def story() -> None:
        async with House().running() as house:
            card_id, leaf = await in_use(house)
            told: list[str] = []
            for event in ("suspension", "suspension", "key_compromise", "request", "suspension"):
                request = RevokeCertificates(card_id=card_id, event=event)
                await house.send("authority", house.envelope(request, sender="center"))
                row = (await house.stores["authority"].read(Get(Certificate, (CA, leaf.serial)))).one(0, Certificate)
                assert row is not None
                told.append(f"{row.state} {row.reason}")
            assert told == ["revoked certificate_hold"] * 2 + ["revoked key_compromise"] * 3

    run(story())
