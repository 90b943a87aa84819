"""The chip's long proofs in small, and that they can fail."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from chip_faults import free_tries
from warifu.chip import apdu, layout, pins, reading
from warifu.chip.apdu import Command, StatusError
from warifu.chip.card import _PLAIN, Chip
from warifu.chip.image import decode
from warifu.chip.state import ChipState
from warifu.cli import main
from warifu.lab.proofs import chip as prove_chip
from warifu.lab.proofs import power as prove_power
from warifu.lab.proofs.catalog import PROOFS, Part, UnknownProof, prove
from warifu.lab.scenarios.chip_oracle import Watched
from warifu.lab.scenarios.chip_sequences import LENGTH, play
from warifu.lab.simulation.specimen import CountedEntropy, specimen

Handler = Callable[[ChipState, Command], bytes]


def fuzzed(sequences: int = 40) -> set[str]:
    part = prove_chip.fuzz(0, sequences, sequences * LENGTH)
    return {violation.text for violation in part.violations}


def instead_of(monkeypatch: pytest.MonkeyPatch, key: tuple[int, int], handler: Handler) -> None:
    monkeypatch.setattr("warifu.chip.card._PLAIN", {**_PLAIN, key: handler})


def test_the_chip_as_it_is_breaks_nothing() -> None:
    part = prove_chip.fuzz(0, 30, 3000)
    assert (part.count, part.violations) == (3000, ())


def test_a_sequence_follows_from_its_seed() -> None:
    assert play(3).log == play(3).log
    assert play(3).log != play(4).log


def test_sequences_reach_deep() -> None:
    """Most commands of the chip are answered 9000 somewhere: the fuzz does not only knock at the door."""
    reached: set[bytes] = set()

    class Noting(Watched):
        def transmit(self, command: bytes) -> bytes:
            response = super().transmit(command)
            if response.endswith(b"\x90\x00"):
                reached.add(command[:2])
            return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warifu.lab.scenarios.chip_sequences.Watched", Noting)
        prove_chip.fuzz(0, 150, 15_000)
    wanted = "00A4 00B0 00B2 00CA 0084 0020 0024 802A 80AE 0820 08A4 8050 8482 84E0 84E2 84E4 84E6 8446 84C2 84F0"
    assert {bytes.fromhex(word) for word in wanted.split()} <= reached


# --- chips that break a promise -----------------------------------------------------------------------------------


def test_an_exception_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(state: ChipState, command: Command) -> bytes:
        return reading.read_record(state, command) if command.data else bytes((command.p1 - 1,))

    instead_of(monkeypatch, (0x00, 0xB2), careless)
    assert "ValueError escaped" in fuzzed()


def test_a_counter_that_rises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def generous(state: ChipState, command: Command) -> bytes:
        try:
            return pins.verify(state, command)
        except StatusError as error:
            pin = state.applet.pin(state.reference(command.p2))
            if pin is not None and error.word == apdu.BLOCKED:
                new = msgspec.structs.replace(pin, tries_left=1)
                state.keep(state.image.with_applet(state.applet.with_pin(new)))
            raise

    instead_of(monkeypatch, (0x00, 0x20), generous)
    assert "a PIN counter rose without success" in fuzzed()


def test_a_wrong_pin_that_costs_no_try_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    instead_of(monkeypatch, (0x00, 0x20), free_tries)
    assert "a wrong PIN cost no try, or more than one" in fuzzed()


def test_a_wrong_pin_that_is_taken_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "warifu.chip.pins.hmac.compare_digest", lambda one, other: one[:1] == other[:1] or len(other) == 6
    )
    assert "a wrong PIN was taken" in fuzzed()


def test_a_pin_that_is_given_away_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def talkative(state: ChipState, command: Command) -> bytes:
        pin = state.applet.pins[0] if state.applet.pins else None
        return reading.get_challenge(state, command) + (pin.value if pin else b"")

    instead_of(monkeypatch, (0x00, 0x84), talkative)
    assert "a response holds a PIN" in fuzzed(120)


def test_part_of_a_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def talkative(state: ChipState, command: Command) -> bytes:
        key = state.applet.keys[0].private_key if state.applet.keys else b""
        return reading.get_challenge(state, command) + key[600:610]

    instead_of(monkeypatch, (0x00, 0x84), talkative)
    assert "a response holds part of a key" in fuzzed(120)


def test_a_change_without_a_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(state: ChipState, command: Command) -> bytes:
        ef = state.current_ef()
        state.keep(state.image.with_applet(state.applet.with_ef(msgspec.structs.replace(ef, content=b""))))
        return reading.read_binary(state, command)

    instead_of(monkeypatch, (0x00, 0xB0), hasty)
    assert "files or keys changed without a commit" in fuzzed()


# --- power pull ---------------------------------------------------------------------------------------------------


def test_a_few_kills_leave_whole_cards() -> None:
    proved = prove("power-pull", 6)
    assert (proved.count, proved.violations) == (6, ())
    assert proved.notes["kills before the end"] >= 1


def test_a_rehearsal_is_the_same_every_time_and_moves_the_card() -> None:
    image = specimen().image
    one, two = prove_power.rehearse(image, 5), prove_power.rehearse(image, 5)
    assert one == two
    assert one.violations == ()
    assert len(one.images) > 10
    assert prove_power.rehearse(image, 6).images != one.images


def trace() -> prove_power.Trace:
    return prove_power.rehearse(specimen().image, 5)


def test_an_image_that_is_torn_is_found() -> None:
    made = trace()
    torn = made.images[-1][:-100] + made.images[0][-100:]
    assert prove_power.judge(made, torn, len(made.counts)) == ["the image does not load"]
    assert prove_power.reachable(torn) == ["the card cannot be reached any more: card.image_damaged"]


def test_an_image_from_before_an_answer_is_found() -> None:
    made = trace()
    assert prove_power.judge(made, made.images[-1], len(made.counts) - 1) == []
    assert prove_power.judge(made, made.images[-2], len(made.counts) - 1) != []
    assert prove_power.judge(made, made.images[-1], 0) != []
    foreign = prove_power.rehearse(specimen().image, 6).images[-1]
    assert prove_power.judge(made, foreign, len(made.counts) - 1) == ["the image is none of those the sequence makes"]


def test_a_tuple_that_does_not_fit_its_files_is_found() -> None:
    writes = [decode(image) for image in trace().images]
    done = next(image for image in reversed(writes) if image.last_write is not None and image.last_write.committed)
    assert done.last_write is not None
    assert list(prove_power.consistent(done)) == []
    other = msgspec.structs.replace(done.last_write, write_id=bytes(16))
    assert list(prove_power.consistent(msgspec.structs.replace(done, last_write=other)))


def test_a_chip_that_wins_a_try_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgiving(state: ChipState, command: Command) -> bytes:
        pin = state.applet.pin(state.reference(command.p2))
        if pin is not None and pin.tries_left == 1:
            full = msgspec.structs.replace(pin, tries_left=pin.tries_max)
            state.keep(state.image.with_applet(state.applet.with_pin(full)))
            raise StatusError(apdu.TRIES_LEFT)
        return pins.verify(state, command)

    instead_of(monkeypatch, (0x00, 0x20), forgiving)
    found = {text for seed in range(12) for text in prove_power.rehearse(specimen().image, seed).violations}
    assert "a PIN counter rose without success" in found


# --- the command --------------------------------------------------------------------------------------------------


def test_prove_writes_json_for_machines(tmp_path: Path) -> None:
    file = tmp_path / "proved.json"
    assert main(["lab", "prove", "apdu-fuzz", "--count", "250", "--json", str(file)]) == 0
    result = json.loads(file.read_text("utf-8"))
    assert {"name": "apdu-fuzz", "count": 250, "violations": []}.items() <= result.items()
    assert result["seconds"] > 0


def test_a_violation_is_status_3_and_names_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(_first: int, _sequences: int, _commands: int) -> Part:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Chip, "transmit", lambda _self, _raw: b"\x12\x34")
            return original(7, 1, 5)

    original = prove_chip.fuzz
    monkeypatch.setattr(prove_chip, "fuzz", broken)
    file = tmp_path / "proved.json"
    assert main(["lab", "prove", "apdu-fuzz", "--count", "5", "--json", str(file)]) == 3
    assert "seed 7" in capsys.readouterr().out
    violation = json.loads(file.read_text("utf-8"))["violations"][0]
    assert (violation["seed"], violation["text"]) == (7, "response ends with 1234")


def test_unknown_names_and_counts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "prove", "nothing"]) == 1
    assert main(["lab", "prove", "apdu-fuzz", "--count", "0"]) == 1
    error = capsys.readouterr().err
    assert "lab.unknown_proof" in error
    assert "lab.bad_count" in error
    with pytest.raises(UnknownProof):
        prove("nothing", 1)
    assert set(PROOFS) >= {"apdu-fuzz", "power-pull"}


def test_a_specimen_is_in_use_and_its_own() -> None:
    card = Chip(specimen().image, lambda _: None, CountedEntropy(""))
    assert card.image.life == "in_use"
    assert len({*specimen().pins.values(), *specimen(1).pins.values()}) == 10
    assert set(specimen().pins) == {place for places in layout.PIN_REFERENCES.values() for place in places}
