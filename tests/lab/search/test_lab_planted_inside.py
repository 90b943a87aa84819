"""Faults planted in the text of node and chip code: limits, cancellations, locks, the stock of key pairs.

What is planted is the code as it stands with one piece of it replaced, as a slip would have it.
"""

import asyncio
import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from warifu.chip import pins, staging
from warifu.chip.card import _PLAIN
from warifu.domain.admission.leases import Leases
from warifu.domain.cards import production
from warifu.domain.certificates import ceremony
from warifu.domain.certificates import rules as certificates
from warifu.lab.scenarios.nation import morning
from warifu.lab.search.search import run_batch
from warifu.nodes import status_look, terminal
from warifu.nodes.authority import issuing
from warifu.nodes.authority.bulk import BulkIssuer
from warifu.nodes.authority.ceremony import Ceremonies
from warifu.nodes.authority.issuing import Issuer
from warifu.nodes.authority.key_pool import KeyPool
from warifu.nodes.authority.lists import Lists
from warifu.nodes.authority.signing import Signer
from warifu.nodes.base import KeepingNode
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.front import Front
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.intake import Intake
from warifu.nodes.issuance import Issuance
from warifu.nodes.responder import Responder
from warifu.nodes.status_look import Looks
from warifu.nodes.terminal import Run, Terminal

Plant = Callable[[pytest.MonkeyPatch], None]


def replaced(owner: Any, name: str, old: str, new: str) -> Any:
    """A function of a module or a class, with one piece of its text replaced."""
    source, made = textwrap.dedent(inspect.getsource(getattr(owner, name))), dict[str, Any]()
    assert source.count(old) == 1, "the code has changed: plant this fault anew"
    module = owner if inspect.ismodule(owner) else sys.modules[owner.__module__]
    exec(compile(source.replace(old, new), "planted", "exec"), vars(module), made)  # noqa: S102 - what the test is about
    return made[name]


def edited(owner: type, name: str, old: str, new: str) -> Plant:
    """The method with one piece of its text replaced."""
    return lambda patch: patch.setattr(owner, name, replaced(owner, name, old, new))


def in_module(module: Any, name: str, old: str, new: str) -> Plant:
    """The function with one piece of its text replaced."""
    return lambda patch: patch.setattr(module, name, replaced(module, name, old, new))


def compared_first(patch: pytest.MonkeyPatch) -> None:
    """A right PIN is seen to be right before its try is counted."""
    verify = replaced(
        pins,
        "verify",
        "    _keep(state, lowered)\n    if not hmac.compare_digest(pin.value, command.data):\n",
        "    if not hmac.compare_digest(pin.value, command.data):\n        _keep(state, lowered)\n",
    )
    patch.setattr("warifu.chip.card._PLAIN", {**_PLAIN, (0x00, 0x20): verify})


def closed_before_set(patch: pytest.MonkeyPatch) -> None:
    """The window for a PIN is durably closed before the PIN is durable."""
    closed = "    _keep(state, msgspec.structs.replace(pin, window=b'', window_unblocks=False))\n"
    kept = "    _keep(\n        state,\n        msgspec.structs.replace(pin, value=value"
    patch.setattr("warifu.chip.card._PLAIN", {**_PLAIN, SET_PIN: replaced(pins, "set_pin", kept, closed + kept)})


def last_place_first(patch: pytest.MonkeyPatch) -> None:
    """The place that keeps the old PIN until a change is whole is changed first."""
    loop, last = "for place in first:\n", "await client.change_pin(connection.transmit, *last, old, new)\n"
    patch.setattr(terminal, "_change", replaced(terminal, "_change", f"    {loop}", f"    {last}    {loop}"))


def swallowed(patch: pytest.MonkeyPatch) -> None:
    """A terminal takes its own cancellation for a card that was pulled."""
    patch.setattr(terminal, "asyncio", asyncio, raising=False)
    went_on = replaced(Run, "run_script", "except CardGone:", "except (CardGone, asyncio.CancelledError):")
    patch.setattr(Run, "run_script", went_on)


def limit(module: object, name: str, value: int) -> Plant:
    """Another limit."""
    return lambda patch: patch.setattr(module, name, value)


SET_PIN = (0x80, 0x2C)
FULL = "a chip is filled to its limit and no further"
CANCELLED = "who is cancelled ends"
LOCKED = "what stands under a lock is done under it"
ONCE, LOST = "a key pair and a serial are used once", "no key pair is lost"
FILLED = "the stock of key pairs is filled again"

LEFT_EARLY = edited(
    BulkIssuer,
    "_record",
    "        await self._commit(call, block, tuple(writes))\n",
    "    await self._commit(call, block, tuple(writes))\n",
)
BLOCK_STAYS = edited(KeyPool, "reserve", "writes.append(Delete(block))", "pass")
REST_IS_DROPPED = edited(KeyPool, "reserve", "writes += await self._given_back(pairs[count:])", "pass")
ALONE = edited(KeyPool, "make_block", "Insert(each) for each in made)", "Insert(each) for each in made[1:])")
FIRST_TROUBLE = edited(KeyPool, "_fill_on", "filled = False\n", "return\n")
NEVER_ENOUGH = edited(KeyPool, "_short_of_blocks", "return held < wanted", "return held <= wanted")
OF_ANOTHER = edited(KeyPool, "_one", "key_pair_id.encode()), WRAP_MS", "b''), WRAP_MS")

TWO, MADE, WHOLE = (
    "nothing happens to a key without two",
    "a generation is made once, and who asked is told",
    "a generation is whole",
)
NOT_COUNTED = edited(Ceremonies, "enrol", "writes=(Insert(fresh), *guard)", "writes=(Insert(fresh),)")
TOLD_APART = edited(
    Ceremonies,
    "make",
    "return await self.node.step(call, reads, rule, GenerationMade, begun=begun)",
    """from warifu.ports.store import Change
        writes = (Insert(fresh), Insert(record))
        await self.node.store.commit(Change(now_ms=call.now_ms, writes=writes, journal=(entry,)))
        return await self.node.remember(call, made, GenerationMade)""",
)
BY_THE_OLD_KEY = edited(Ceremonies, "make", "Sign(fresh.key_label, text)", "Sign(f'jpki-ca-{request.ca}-1', text)")
SAME_SERIAL = edited(Signer, "make", "serial=await self.next_serial(kind)", "serial=FIRST_SERIAL")

LOOKED_FOR_ONCE = edited(
    Responder, "_refresh", "if 0 <= now_ms - self._refreshed_ms < REFRESH_MS:", "if self._refreshed_ms:"
)
AGAIN_FOR_EVER = edited(Responder, "_again", "<= now_ms < kept.until_ms:", "<= now_ms:")
FORM_OF_ANOTHER = edited(Responder, "_form", 'len(nonce or b""), told[0].status)', 'len(nonce or b""))')
KEY_FORGOTTEN = edited(
    KeepingNode,
    "step",
    """for _ in range(MAX_DECISIONS):
        snapshot, begun = begun or await self.store.read(*reads, request=key), None
""",
    """for turn in range(MAX_DECISIONS):
        snapshot, begun = begun or await self.store.read(*reads, request=None if turn else key), None
""",
)
SAME_NUMBER = edited(Lists, "_built", "before.number + 1 if before else 1", "before.number if before else 1")
ALWAYS_MOVING = edited(Leases, "_rest_ms", "now_ms < self._moving_until_ms", "self._moving_until_ms")
PROVED_AGAIN = edited(
    Run,
    "prove",
    "        await client.verify_pin(self.transmit, aid, reference, value)\n",
    """        try:
            await client.verify_pin(self.transmit, aid, reference, value)
        except WrongPin:
            await client.verify_pin(self.transmit, aid, reference, value)
""",
)

FIXED_ANEW = in_module(production, "fix_data", "if card.issued_on is not None:\n        return card\n", "pass\n")
ENDED_MEANWHILE = in_module(production, "revoke_on_request", "raise OtherOperationOpen(card.open_operation)", "pass")
OUTLIVES = in_module(
    issuing, "_cap", "return max(ends, default=None)", "return max(ends) + datetime.timedelta(days=1) if ends else None"
)
AS_OF_THE_END = edited(Front, "check", "Checked(as_of_ms=now_ms,", "Checked(as_of_ms=self.world.clock.now_ms(),")

STARVED = edited(HsmPool, "_next_job", "if _now() >= due:", "if _now() >= due and not self._queue:")
SIGNED_FIRST = edited(
    Issuer,
    "issue",
    "await self._commit(call, standing.touched, *intended)",
    """await self.signer.sign(await self._generation(intended[0]), intended[0].tbs, self.node.remaining_ms(call))
            await self._commit(call, standing.touched, *intended)""",
)

RETRIES = "only the CS retries"
ALL_ONE_BY_ONE = edited(Issuance, "_certify", "except TryAgain as error:", "except ZeroDivisionError as error:")
ASKED_ANEW = edited(
    Front,
    "_asked_jpki",
    """answer = await self._ask("authority", AskStatuses(ca=ca, serials=tuple(page)), Statuses)""",
    """
        try:
            answer = await self._ask("authority", AskStatuses(ca=ca, serials=tuple(page)), Statuses)
        except Exception:
            parts = [await self._ask("authority", AskStatuses(ca=ca, serials=(one,)), Statuses) for one in page]
            answer = Statuses(statuses=tuple(status for part in parts for status in part.statuses))""".strip(),
)
KEEPS_WAITING = edited(
    CommunicationServer, "_before_retry", "if not may_queue(waiting.kind, waited_ms, wait_ms):", "if waited_ms < 0:"
)
GIVES_UP = edited(
    CommunicationServer, "_before_retry", "if not may_queue(waiting.kind, waited_ms, wait_ms):", "if wait_ms:"
)
PLACES = "a place is refused when all are taken, and not before"
ONE_FEWER = edited(
    CommunicationServer, "handle", "self.waiting >= self.max_waiting", "self.waiting + 1 >= self.max_waiting"
)
ONE_MORE = edited(CommunicationServer, "handle", "self.waiting >= self.max_waiting", "self.waiting > self.max_waiting")
FEWER_AT_WORK = edited(Front, "_admitted", ">= AT_ONCE:", ">= AT_ONCE - 1:")

SAME = "same answer for the same key"
DONE_FIRST = edited(Intake, "report_loss", "if earlier is not None:", "if not request:")
DECIDED_FIRST = edited(KeepingNode, "step", "if snapshot.answer is not None:", "if rule(snapshot) and snapshot.answer:")
SHARED_ENDS = edited(Looks, "_look", "await asyncio.shield(future)", "await future")
OF_ITSELF = in_module(certificates, "resident_changed", "< request.resident_version", "<= request.resident_version")
FIRST_UNSEEN = in_module(status_look, "_revision", "is not None else 0", "is not None else 1")
NEVER_ALONE = edited(HsmPool, "_give", "            job.repeated = True\n", "")
COUNTED_IN_FIRST = edited(
    Terminal,
    "receive",
    "for card_id in request.card_ids:\n",
    """report = CardsReceived(batch_id=request.batch_id, card_ids=request.card_ids)
    await self.ask(call, self.cs, report, Received, "receive")
    for card_id in request.card_ids:
""",
)
SUSPENDED_LATER = edited(
    Intake,
    "report_loss",
    'view = await self.ask(call, "center", SuspendCard(card_id=card_id), CardView, "suspend")',
    """await self.remember(call, LossReported(card_state="suspended"), LossReported)
    view = await self.ask(call, "center", SuspendCard(card_id=card_id), CardView, "suspend")""",
)
DONE_ALONGSIDE = edited(
    KeepingNode,
    "step",
    "return decode(answer, snapshot.answer)",
    """from warifu.ports.store import JournalEntry
            again = JournalEntry("card:again", "again", call.operation_id, {})
            await self.store.commit(Change(now_ms=call.now_ms, journal=(again,)))
            return decode(answer, snapshot.answer)""",
)


@pytest.mark.parametrize(
    ("plant", "scenario", "broken"),
    [
        (limit(staging, "PARTICULARS_MAX", 7), "chip", FULL),
        (limit(staging, "PARTICULARS_MAX", 9), "chip", FULL),
        (limit(pins, "PIN_MAX", 15), "chip", FULL),
        (limit(staging, "EF_MAX", 0x7FFF), "chip", FULL),
        (compared_first, "chip", "a chip keeps its promises"),
        (closed_before_set, "counter", "what a command changes is durable together"),
        (swallowed, "counter", CANCELLED),
        (STARVED, "steady", "a worker proves itself in time"),
        (SIGNED_FIRST, "jpki", "what is signed was recorded before"),
        (LEFT_EARLY, "jpki", LOCKED),
        (BLOCK_STAYS, "stock", ONCE),
        (REST_IS_DROPPED, "stock", LOST),
        (ALONE, "stock", LOST),
        (FIRST_TROUBLE, "stock", "timers run"),
        (NEVER_ENOUGH, "stock", "a full stock is left alone"),
        (OF_ANOTHER, "stock", "a key pair is one"),
        (NOT_COUNTED, "ceremony", TWO),
        (limit(ceremony, "HOLDERS", 1), "ceremony", TWO),
        (TOLD_APART, "ceremony", MADE),
        (BY_THE_OLD_KEY, "ceremony", WHOLE),
        (SAME_SERIAL, "ceremony", ONCE),
        (LOOKED_FOR_ONCE, "ceremony", "the responder answers for every generation"),
        (AS_OF_THE_END, "jpki", "a check is of no later instant than it says"),
        (AGAIN_FOR_EVER, "jpki", "an old answer is not given again"),
        (FORM_OF_ANOTHER, "jpki", "what was never issued is unknown"),
        (KEY_FORGOTTEN, "jpki", "same answer for the same key"),
        (SAME_NUMBER, "jpki", "a list's number is of one list"),
        (ALWAYS_MOVING, "door", "a place lasts as long as its operation moves"),
        (FIXED_ANEW, "factory", "a card's data is fixed once"),
        (ENDED_MEANWHILE, "counter", "an open operation has the card"),
        (OUTLIVES, "counter", "a signature certificate does not outlive authentication"),
        (PROVED_AGAIN, "counter", "a wrong PIN costs one try"),
        (last_place_first, "counter", "a PIN is changed in all its places or in none"),
        (ALL_ONE_BY_ONE, "factory", RETRIES),
        (ASKED_ANEW, "jpki", RETRIES),
        (KEEPS_WAITING, "left", "who finds no room is told in a moment"),
        (GIVES_UP, "left", "what can still be tried is tried"),
        (ONE_FEWER, "left", PLACES),
        (ONE_MORE, "left", PLACES),
        (FEWER_AT_WORK, "jpki", PLACES),
        (SHARED_ENDS, "looks", "who goes away ends nobody else's request"),
        (FIRST_UNSEEN, "looks", "what is told of a certificate is the register's as it stood or later"),
        (OF_ITSELF, "jpki", "nothing is revoked that nobody revoked"),
        (NEVER_ALONE, "hsm", "what went with others in vain goes alone"),
        (COUNTED_IN_FIRST, "factory", "what is counted in was in somebody's hands"),
        (SUSPENDED_LATER, "factory", "a loss that was reported is a loss"),
        (DONE_FIRST, "factory", SAME),
        (DECIDED_FIRST, "factory", SAME),
        (DONE_ALONGSIDE, "relay", "an answered request changes nothing when it comes again"),
    ],
)
def test_a_fault_inside_is_found(plant: Plant, scenario: str, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    morning()  # made once a process, by nodes that are well
    plant(monkeypatch)
    assert [found.property for found in run_batch(range(150), (), scenario).found] == [broken]
