"""What must be true in the evening: chip, record, journal, register and audit tell the same story."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from warifu.adapters.store.audit import AuditBroken, verify_export
from warifu.chip import layout
from warifu.chip.image import Ef, Image
from warifu.chip.reading import split_records
from warifu.contract.values import OperationKind
from warifu.domain.cards import operations, plans
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.certificates.records import AppletWrite, Certificate, Revocation, StoredKeyPair
from warifu.kernel.ids import ulid_text
from warifu.lab.history import DIGEST_SHOWN
from warifu.lab.scenarios.nation import CENTERS, KEY_PAIRS, Holder, Nation, morning
from warifu.lab.scenarios.stock_book import TWICE, found_strange, found_wrong, is_full
from warifu.lab.simulation.keys import EPOCH_MS
from warifu.nodes.center import Center, completing
from warifu.ports.store import Record

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

R = TypeVar("R", bound=Record)

FILES = {"signature": layout.SIGNATURE_CERTIFICATE, "authentication": layout.AUTHENTICATION_CERTIFICATE}
REPLACES = {"replace_signature": ("signature",), "replace_both": ("signature", "authentication")}
LOOKED_MS = 6_000
"""For the last looks of slow stores."""
LIVE = frozenset({"issued", "valid"})
LOOKS = {
    "registry.identity": "resident.look",
    "numbering.reveal": "number.look",
    "intake.photo": "photo.look",
    "center.card": "card.look",
}
"""What shows personal data, and the audit's word for it."""


class Evening:
    """Compares what is durable. Knows which operations were done."""

    def __init__(self, world: "World", nation: Nation) -> None:
        self._world = world
        self._nation = nation
        self.holders = morning().holders
        self.revoked: set[tuple[str, str]] = set()
        """Residents, and of which kind their certificate ended by a change of their record."""
        self._versions: dict[str, int] = {}
        """Of the records of residents whose address changed."""
        self._done: list[tuple[Holder, OperationKind, str, str]] = []
        self._given_up: set[str] = set()
        self._looked = Counter(row.entry.action for store in nation.stores.values() for row in store.audit())
        self._earlier = {write.write_id for write in self._rows("center", CardWrite)}

    def done(self, holder: Holder, kind: OperationKind, operation_id: str, place: str) -> None:
        """A clerk was told that an operation is done: then it is, whatever still breaks."""
        self._done.append((holder, kind, operation_id, place))
        operation = next((row for row in self._rows("center", Operation) if row.operation_id == operation_id), None)
        if operation is None or operation.state != "closed":
            self._bad(
                "done means done", f"{kind} was reported done and is {operation.state if operation else 'unknown'}"
            )

    def changed(self, resident_id: str, version: int) -> None:
        """The registry has taken a change of a holder's address: no signature certificate of before stays."""
        self.revoked.add((resident_id, "signature"))
        self._versions[resident_id] = version

    def given_up(self, operation_id: str) -> None:
        """Somebody was told that an operation is given up: then nothing of it is pending, and it stays so."""
        self._given_up.add(operation_id)
        state = self._state_of(operation_id)
        if state != "abandoned":
            self._bad("given up means given up", f"{operation_id} is {state}")
        pending = [row for row in self._rows("center", CardWrite) if row.operation_id == operation_id]
        if any(row.state == "intent" for row in pending):
            self._bad("nothing is given up whose card write is pending", operation_id)

    def perhaps_given_up(self, operation_id: str) -> None:
        """Somebody who asked for it is told that the operation is over: an earlier answer was lost, or it was done."""
        if self._state_of(operation_id) == "abandoned":
            self._given_up.add(operation_id)

    def _state_of(self, operation_id: str) -> str:
        rows = self._rows("center", Operation)
        return next((row.state for row in rows if row.operation_id == operation_id), "unknown")

    def writes_of(self, operation_id: str) -> list[str]:
        """The card writes that an operation has begun."""
        return [row.write_id for row in self._rows("center", CardWrite) if row.operation_id == operation_id]

    def open_on(self, card_id: str) -> set[str]:
        """The operations that have the card now."""
        rows = self._rows("center", Operation)
        return {row.operation_id for row in rows if (row.card_id, row.state) == (card_id, "open")}

    def is_stuck(self, card_id: str, since_ms: int) -> bool:
        """Whether a script for the card is being made for so long: something broke, and it will be asked for again."""
        until_ms = EPOCH_MS + self._world.loop.now_ms - since_ms
        writes = [row for row in self._rows("center", CardWrite) if row.card_id == card_id]
        return any(row.state == "intent" and not row.digest and row.changed_ms <= until_ms for row in writes)

    def was_written(self, card_id: str) -> bool:
        """Whether an operation on the card was given up after a card write of it was done."""
        writes = self._rows("center", CardWrite)
        return any(
            row.card_id == card_id and row.state == "finished" and row.operation_id in self._given_up for row in writes
        )

    async def left_alone(self) -> None:
        """Nobody comes back: after the completer's patience only what the chip alone can tell is open, and told."""
        await asyncio.sleep(self._patient_ms() / 1000)
        unknown, half_done = 0, 0
        for row in self._rows("center", Operation):
            if row.state != "open":
                continue
            writes = [write for write in self._rows("center", CardWrite) if write.write_id == row.pending_write]
            if row.pending_write and writes[0].digest:
                unknown += 1
            elif row.pending_write or not row.writes_done or self._is_done(row):
                self._bad("what was left is ended where that is provable", f"{row.kind} of {row.card_id} is open")
            else:
                half_done += 1
        for name in CENTERS:
            node = self._world.machines[name].node
            said = node.completer.waiting if isinstance(node, Center) else completing.Waiting()
            if (said.unknown, said.half_done) != (unknown, half_done):
                text = f"{name}: {said.unknown} unknown, {said.half_done} half done; it is {unknown}, {half_done}"
                self._bad("people are told of what was left", text)

    def _patient_ms(self) -> int:
        """Until every operation has rested longer than anybody waits for, and the completers have looked twice."""
        moved = [row.changed_ms for row in self._rows("center", Operation) if row.state == "open"]
        moved += [row.changed_ms for row in self._rows("center", CardWrite) if row.state == "intent"]
        since_ms = max([0, *(at_ms - EPOCH_MS - self._world.loop.now_ms for at_ms in moved)])
        patience_ms = max(completing.UNKNOWN_AFTER_MS, completing.LEFT_AFTER_MS)
        return since_ms + patience_ms + 3 * completing.EVERY_S * 1000 + LOOKED_MS

    @staticmethod
    def _is_done(row: Operation) -> bool:
        steps = operations.steps_of(row)
        return steps[-1].action == "write" and row.writes_done == sum(step.action == "write" for step in steps)

    def check(self) -> None:
        """Everything."""
        self._tell()
        for card in self._rows("center", Card):
            self._card(card, self._nation.cards.image(card.card_id))
        for operation in self._rows("center", Operation):
            if operation.pending_write:
                self._bad("no operation is left open", f"{operation.kind} of {operation.card_id}")
        self._writes()
        self._register()
        self._nation.signed.check()
        self._audit()

    def _tell(self) -> None:
        """What stands in the end, into the history: the checker of whole histories reads it."""
        tell = self._world.record
        for card in self._rows("center", Card):
            tell("record", "center", name="card", peer=card.card_id, step=card.write_id, outcome=card.state)
            chip = self._nation.cards.image(card.card_id)
            last = chip.last_write if chip.last_write and chip.last_write.committed else None
            step, digest = (ulid_text(last.write_id), last.digest.hex()[:DIGEST_SHOWN]) if last else ("", "")
            tell("chip", card.card_id, outcome="holds", step=step, digest=digest, detail=chip.life)
        for row in self._rows("center", Operation):
            fields = {"operation_id": row.operation_id, "peer": row.card_id, "outcome": row.state, "detail": row.kind}
            tell("record", "center", name="operation", **fields)
        for write in self._rows("center", CardWrite):
            fields = {"step": write.write_id, "peer": write.card_id, "outcome": write.state, "detail": write.step_name}
            digest = write.digest.hex()[:DIGEST_SHOWN]
            tell("record", "center", name="card_write", operation_id=write.operation_id, digest=digest, **fields)
        for part in self._rows("authority", AppletWrite):
            fields = {"step": part.write_id, "peer": part.card_id, "outcome": part.state, "detail": part.purpose}
            tell("record", "authority", name="applet_write", **fields)

    def _card(self, card: Card, chip: Image) -> None:
        if card.open_operation:
            self._bad("no operation is left open", f"{card.card_id}: {card.open_operation}")
        of_card = [row for row in self._rows("center", Operation) if row.card_id == card.card_id]
        resumed = [row.opened_ms for row in of_card if (row.kind, row.state) == ("resumption", "closed")]
        if card.state == "in_use" and resumed and (card.suspended_ms or 0) > max(resumed):
            self._bad("a card that is lost again stays suspended", card.card_id)
        entries = sum(len(split_records(ef)) for ef in _juki(chip) if ef.fid == layout.JUKI_PARTICULARS)
        if entries != card.entries:
            self._bad("chip equals record", f"{card.card_id}: {entries} entries on the chip, {card.entries} counted")
        windows = [pin.fid for found in chip.applets for pin in found.pins if pin.window]
        if windows:
            self._bad("no PIN window is left open", f"{card.card_id}: {len(windows)}")

    def _writes(self) -> None:
        """Each planned card write was finished exactly once, and JPKI was told of its own."""
        writes = [write for write in self._rows("center", CardWrite) if write.write_id not in self._earlier]
        told = {row.write_id: row.state for row in self._rows("authority", AppletWrite)}
        for write in writes:
            if write.with_jpki and told.get(write.write_id) != write.state:
                self._bad("every card write is settled", f"JPKI: {told.get(write.write_id)}, centre: {write.state}")
        finished = Counter((write.operation_id, write.step_name) for write in writes if write.state == "finished")
        for _, kind, operation_id, _ in self._done:
            for step in plans.plan(kind, plans.ALL_PINS):
                if step.action == "write" and finished.pop((operation_id, step.name), 0) != 1:
                    self._bad("exactly one effect per request", f"{step.name} of {kind} was not finished once")
        finished = Counter({key: count for key, count in finished.items() if key[0] not in self._given_up or count > 1})
        if finished:
            self._bad("exactly one effect per request", f"{next(iter(finished))} was in no plan, or twice")

    def _register(self) -> None:
        """Key pairs and serials are used once; what is on a chip in use is what the register holds valid."""
        certificates = self._rows("authority", Certificate)
        pairs, register = Counter(row.key_pair_id for row in certificates), self._nation.stores["authority"]
        if max(pairs.values()) > 1:
            self._bad(TWICE, f"key pair of {max(pairs.values())} certificates")
        if wrong := found_wrong(register) or found_strange(register):
            self._bad(*wrong)
        told = {row.write_id: row.state for row in self._rows("authority", AppletWrite)}
        known = {row.key_pair_id: row for row in self._rows("authority", StoredKeyPair)}
        if not is_full(register, KEY_PAIRS):
            self._bad("the stock of key pairs is filled again", f"{len(known)} pairs, too few of them free")
        revoked = {(row.ca, row.serial) for row in self._rows("authority", Revocation)}
        for row in certificates:
            if row.state == "intent" and told.get(row.write_id) != "undone":
                self._bad("no certificate is left unsigned", f"{row.ca} {row.serial}")
            if (row.state == "revoked") is not ((row.ca, row.serial) in revoked):
                self._bad("the lists hold what is revoked", f"{row.ca} {row.serial} {row.state}")
            if known[row.key_pair_id].wrapped is not None and row.write_id:
                self._bad("a key pair that is done with is destroyed", f"{row.ca} {row.serial}")
        for one in certificates:
            self._outlives(one, certificates)
        for card in self._rows("center", Card):
            self._on_chip(card, [row for row in certificates if row.card_id == card.card_id])

    def _outlives(self, one: Certificate, certificates: list[Certificate]) -> None:
        beside = [row.not_after for row in certificates if row.ca == "authentication" and row.card_id == one.card_id]
        if one.ca == "signature" and beside and one.not_after > max(beside):
            text = f"{one.card_id}: {one.not_after}, and authentication until {max(beside)}"
            self._bad("a signature certificate does not outlive authentication", text)

    def _on_chip(self, card: Card, certificates: list[Certificate]) -> None:
        applet = next(found for found in self._nation.cards.image(card.card_id).applets if found.aid == layout.JPKI)
        files = {ef.fid: ef.content for ef in applet.efs}
        self._replaced(card, files, certificates)
        for kind, fid in FILES.items():
            mine = [row for row in certificates if row.ca == kind and row.state in LIVE]
            if kind == "signature" and any(
                row.resident_version < self._versions.get(row.resident_id, 0) for row in mine
            ):
                self._bad("nothing ended is valid", f"{card.card_id} has a certificate of before a change")
            if card.state in {"abolished", "suspended"} and mine:
                self._bad("nothing ended is valid", f"{card.state} {card.card_id} has a {mine[0].state} certificate")
            ended = (card.resident_id, kind) in self.revoked or self._moved(card, kind)
            if card.state == "in_use" and not ended:
                if [row.state for row in mine] != ["valid"]:
                    self._bad("delivered certificates are valid", f"{card.card_id} {kind}: {[r.state for r in mine]}")
                elif files[fid] != mine[0].der:
                    self._bad("chip equals record", f"{card.card_id}: another {kind} certificate on the chip")

    def _replaced(self, card: Card, files: dict[int, bytes], certificates: list[Certificate]) -> None:
        """A card write that replaces certificates, once it is done, has put each new one onto the chip."""
        write = next((row for row in self._rows("center", CardWrite) if row.write_id == card.write_id), None)
        for kind in REPLACES.get(plans.JPKI_PURPOSES.get(write.step_name, "") if write else "", ()):
            ders = [row.der for row in certificates if (row.ca, row.write_id) == (kind, card.write_id)]
            if files[FILES[kind]] not in ders:
                self._bad("a replaced certificate is on the chip", f"{card.card_id}: no new {kind} certificate")

    @staticmethod
    def _moved(card: Card, kind: str) -> bool:
        """After a move the signature certificate is revoked until continued use."""
        return kind == "signature" and bool(card.continuation_municipality)

    def _audit(self) -> None:
        for kind, store in self._nation.stores.items():
            state = store._state  # noqa: SLF001 - an export without a store that may fail
            try:
                self._looks(kind, Counter(row.entry.action for row in state.audit))
                if verify_export(state.audit, state.seals).unsealed:
                    self._bad("the audit chain is whole", f"{kind}: not sealed any more")
            except AuditBroken as error:
                self._bad("the audit chain is whole", f"{kind}: {error}")

    def _looks(self, kind: str, audited: Counter[str]) -> None:
        """Each answer that shows personal data left its audit row."""
        for name, action in LOOKS.items():
            if name.partition(".")[0] == kind:
                shown = sum(
                    event.kind == "reply"
                    and event.name == name
                    and event.outcome == "ok"
                    and event.node.startswith(kind)
                    for event in self._world.history
                )
                if shown > audited[action] - self._looked[action]:
                    self._bad("every look leaves an audit row", f"{shown} answers to {name}")

    def state(self) -> object:
        """Records and chips, as texts that tell them apart."""
        cards = tuple((row.state, row.write_id, row.open_operation) for row in self._rows("center", Card))
        pending = tuple((row.state, row.pending_write, row.writes_done) for row in self._rows("center", Operation))
        certificates = tuple((row.serial, row.state) for row in self._rows("authority", Certificate))
        chips = tuple(hash_of(image) for image in self._nation.cards.images.values())
        return cards, pending, certificates, chips

    def _rows(self, kind: str, record: type[R]) -> list[R]:
        return [row for row in self._nation.stores[kind].records(record) if isinstance(row, record)]

    def _bad(self, name: str, text: str) -> None:
        self._world.violated(name, text)


def _juki(chip: Image) -> tuple[Ef, ...]:
    return next(found.efs for found in chip.applets if found.aid == layout.JUKI)


def hash_of(image: bytes) -> str:
    """The image's own digest, which its head carries."""
    return image[6:14].hex()
