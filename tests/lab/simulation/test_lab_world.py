"""The world: clocks, keys, the network's faults and the store's, each doing what it says."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.numbering import AssignNumber
from warifu.kernel.errors import DeadlinePassed, Fault, Stale, Unavailable, Unreachable
from warifu.kernel.ids import new_ulid
from warifu.lab.history import Event
from warifu.lab.properties import NothingLost, OneEffect, OutboxOrder, SameAnswer
from warifu.lab.scenarios.tally import Given, TallyTrial
from warifu.lab.simulation import primes
from warifu.lab.simulation.driver import Driver
from warifu.lab.simulation.keys import EPOCH_MS, Deal, FixtureCrypto, SeededEntropy, _primes, fixture_rsa
from warifu.lab.simulation.loop import SimulatedLoop
from warifu.lab.simulation.order import FirstInFirstOut
from warifu.lab.simulation.plan import Plan
from warifu.lab.simulation.world import World

T = TypeVar("T")
RESIDENT = new_ulid(EPOCH_MS, bytes(10))
REQUEST = AssignNumber(resident_id=RESIDENT, resident_code="12345678901", municipality="131016")
ALWAYS = 1.1


class Bench:
    """A tally world in which chosen faults always strike."""

    def __init__(self, *always: str) -> None:
        self.loop = SimulatedLoop(FirstInFirstOut())
        self.world = World(self.loop, Plan(scenario="tally", seed=1, faults=tuple(always), tight=True), ())
        self.trial: TallyTrial
        self.driver: Driver
        self.world.dice.chances.clear()
        for kind in always:
            self.world.dice.chances[kind] = ALWAYS
            self.world.dice._draws[kind] = float

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        async def built() -> T:
            self.trial = TallyTrial(self.world)
            self.driver = Driver(self.world, "registry-9")
            return await main

        try:
            return self.loop.run_until_complete(built())
        finally:
            self.loop.close()

    async def call(self) -> object:
        envelope = Envelope(
            name=REQUEST.NAME,
            operation_id=RESIDENT,
            step="assign",
            sender="registry-9",
            remaining_ms=300,
            body=encode(REQUEST),
        )
        return await self.world.network.call("registry-9", "numbering", envelope)

    def effects(self) -> int:
        return sum(event.kind == "effect" and event.node == "numbering" for event in self.world.history)


@pytest.mark.parametrize(
    ("fault", "error", "effects"),
    [
        ("unreachable", Unreachable, 0),
        ("cut_before", Unavailable, 0),
        ("cut_after", Unavailable, 1),
        ("lose_request", DeadlinePassed, 0),
        ("lose_reply", DeadlinePassed, 1),
    ],
)
def test_each_fault_of_a_call_does_what_it_says(fault: str, error: type[Exception], effects: int) -> None:
    bench = Bench(fault)

    async def main() -> None:
        with pytest.raises(error) as caught:
            await bench.call()
        assert type(caught.value) is error
        bench.world.heal()
        await asyncio.sleep(1)

    bench.run(main())
    assert bench.effects() == effects


def test_a_connection_cut_early_leaves_the_work_going_on() -> None:
    bench = Bench("cut_early")

    async def main() -> int:
        with pytest.raises(Unavailable):
            await bench.call()
        before = bench.effects()
        await asyncio.sleep(1)
        return before

    assert bench.run(main()) == 0
    assert bench.effects() == 1


def test_a_duplicated_request_arrives_twice_and_has_one_effect() -> None:
    bench = Bench("duplicate")

    async def main() -> None:
        await bench.call()
        bench.world.heal()
        await asyncio.sleep(5)

    bench.run(main())
    arrived = [event for event in bench.world.history if event.kind == "deliver" and event.peer == "registry-9"]
    assert (len(arrived), bench.effects()) == (2, 1)


@pytest.mark.parametrize(("fault", "effects"), [("store_down", 0), ("lost_commit", 1)])
def test_a_store_may_fail_before_or_after_its_commit(fault: str, effects: int) -> None:
    bench = Bench(fault)

    async def main() -> object:
        return await bench.call()

    assert "part.unavailable" in repr(bench.run(main()))
    assert bench.effects() == effects


def test_serialization_failures_without_end_are_told_to_the_caller() -> None:
    bench = Bench("stale")

    async def main() -> object:
        return await bench.call()

    assert Stale.code in repr(bench.run(main()))
    assert bench.effects() == 0


@pytest.mark.parametrize(("fault", "effects"), [("crash_before_commit", 0), ("crash_after_commit", 1)])
def test_a_node_may_die_on_either_side_of_its_commit(fault: str, effects: int) -> None:
    bench = Bench(fault)

    async def main() -> None:
        with pytest.raises(Unavailable):
            await bench.call()
        bench.world.heal()

    bench.run(main())
    befell = [event.outcome for event in bench.world.history if event.kind == "fault"]
    assert befell[:2] == [fault, "restart"]
    assert bench.effects() == effects
    assert all(machine.up for machine in bench.world.machines.values())


def test_who_waits_for_a_killed_node_sees_the_connection_break_and_the_store_is_kept() -> None:
    bench = Bench()

    async def main() -> tuple[object, object]:
        first = await bench.driver.ask("numbering", REQUEST, Given, operation_id=RESIDENT, step="assign")
        calling = asyncio.create_task(bench.call())
        await asyncio.sleep(0.002)
        for machine in list(bench.world.machines.values()):
            bench.world.crash(machine)
        with pytest.raises(Unavailable):
            await calling
        bench.world.heal()
        again = await bench.driver.ask("numbering", REQUEST, Given, operation_id=RESIDENT, step="assign")
        return first, again

    first, again = bench.run(main())
    assert first == again == Given(number=1)
    assert bench.effects() == 1


def test_partitioned_nodes_cannot_reach_each_other_until_they_rejoin() -> None:
    bench = Bench()

    async def main() -> object:
        for name in ("numbering-1", "numbering-2"):
            bench.world.network.part("registry-9", name, 1000)
        with pytest.raises(Unreachable):
            await bench.call()
        await asyncio.sleep(1)
        return await bench.call()

    assert "ok" in repr(bench.run(main()))


def test_clocks_are_virtual_and_may_be_wrong() -> None:
    bench = Bench()

    async def main() -> int:
        machine = bench.world.machines["numbering-1"]
        await asyncio.sleep(2)
        machine.clock.skew_ms = -500
        return machine.clock.now_ms()

    assert bench.run(main()) == EPOCH_MS + 1500


def test_a_run_cannot_have_two_machines_of_one_name() -> None:
    bench = Bench()

    async def main() -> None:
        with pytest.raises(Fault):
            bench.world.add("numbering-1", "numbering", lambda _: pytest.fail("built"))

    bench.run(main())


def test_fixture_rsa_keys_work_and_differ() -> None:
    moduli = set()
    for number in (0, 1, 2, 500, 1127):
        pair = fixture_rsa(number)
        private, public = load_der_private_key(pair.private_key, None), load_der_public_key(pair.public_key)
        assert isinstance(private, rsa.RSAPrivateKey)
        assert isinstance(public, rsa.RSAPublicKey)
        assert public.key_size == 2048
        public.verify(private.sign(b"data", padding.PKCS1v15(), SHA256()), b"data", padding.PKCS1v15(), SHA256())
        moduli.add(public.public_numbers().n)
    assert len(moduli) == 5
    with pytest.raises(Fault):
        fixture_rsa(1128)


def test_the_fixture_primes_are_those_their_recipe_makes() -> None:
    assert len(_primes()) == primes.COUNT
    for number, found in enumerate(_primes()):
        assert 0 <= found - primes.start(number) < 1 << 20
    assert primes.fits(_primes()[0])


def test_keys_follow_from_the_seed_and_rsa_keys_are_dealt_once() -> None:
    async def pairs() -> list[bytes]:
        deal = Deal()
        crypto = [FixtureCrypto(SeededEntropy(1, name), deal) for name in ("a", "b")]
        return [(await each.generate_key_pair(kind)).public_key for each in crypto for kind in ("rsa-2048", "ec-p256")]

    loop = SimulatedLoop(FirstInFirstOut())
    first, second = loop.run_until_complete(pairs()), loop.run_until_complete(pairs())
    loop.close()
    assert first == second
    assert len(set(first)) == 4


def event(kind: str, node: str = "n", **fields: str) -> Event:
    return Event(at_ms=0, kind=kind, node=node, **{"operation_id": "A", "step": "s", **fields})  # type: ignore[arg-type]


def test_properties_say_what_is_wrong() -> None:
    twice = OneEffect()
    assert twice.see(event("effect")) is None
    assert "again" in str(twice.see(event("effect")))
    never = OneEffect()
    assert never.see(event("answer", peer="n", name="numbering.assign", outcome="ok")) is None
    assert "without effect" in str(never.end())
    differs = SameAnswer()
    assert differs.see(event("reply", name="numbering.assign", outcome="ok", digest="1")) is None
    assert "differently" in str(differs.see(event("reply", name="numbering.assign", outcome="ok", digest="2")))
    order = OutboxOrder()
    for step in ("1", "2"):
        assert order.see(event("outbox", peer="n", step=step, ordering_key="resident")) is None
    assert "before" in str(order.see(event("effect", step="2")))
    lost = NothingLost()
    assert lost.see(event("outbox", peer="n", name="numbering.assign")) is None
    assert "open" in str(lost.end())
    assert lost.see(event("effect")) is None
    assert lost.end() is None
