"""The staged card write: all or nothing, under the digest both owners agreed on, whatever is pulled when."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from chip_kit import PINS, WRITE_ID, Card, SeededEntropy, blank_image, card_in_use, jpki_part, pkcs8, rsa_key, run, spki
from cryptography.hazmat.primitives.asymmetric import rsa

from warifu.chip import client, contents, issuer, layout
from warifu.chip.card import Chip
from warifu.chip.errors import CardCertificateInvalid, CardRefused, ImageDamaged, PinBlocked, WrongPin
from warifu.chip.image import Access, LastWrite, decode

NEXT_ID = bytes(range(16, 32))


def status(card: Card) -> client.CardStatus:
    return run(client.read_card_status(card.transmit))


def outcome(card: Card, *commands: issuer.IssuerCommand, aid: bytes = layout.ISD) -> int:
    return card.script(aid, [issuer.begin(aid, WRITE_ID), *commands]).status


def test_a_new_card_says_what_it_is() -> None:
    now = status(Card())
    assert (now.card_id, now.life, now.last_write, now.windows) == ("WRF000000000001", "made", None, ())
    assert not any(pin.is_set or pin.tries_left for pin in now.pins)
    assert now.sequences == {layout.ISD: 0, layout.JPKI: 0}


def test_both_domains_join_one_write_and_one_save_makes_it_durable() -> None:
    card = Card()
    digest = card.write(jpki=jpki_part(), isd=[issuer.set_life_state("set_up")], step="personalise")
    assert len(card.saved) == 1 + 2 + 1  # the image, two channels counted, one commit
    now = status(card)
    assert now.life == "set_up"
    assert now.last_write == LastWrite(WRITE_ID, digest, "personalise", committed=True)
    assert now.sequences == {layout.ISD: 1, layout.JPKI: 1}
    assert now.staged_write_id is None


def test_staged_changes_are_invisible_until_commit_and_gone_after_a_reset() -> None:
    card = Card()
    assert outcome(card, issuer.set_life_state("set_up"), *issuer.put_ef(layout.TEXT, 4, b"new")) == 0x9000
    now = status(card)
    assert now.life == "made"
    assert now.staged_write_id == WRITE_ID
    assert now.staged_digest == issuer.running_digest(
        issuer.start_digest(WRITE_ID), [issuer.set_life_state("set_up"), *issuer.put_ef(layout.TEXT, 4, b"new")]
    )
    with pytest.raises(CardRefused, match="6B00"):
        run(client.read_ef(card.transmit, layout.TEXT, 4))
    card.chip.reset()
    assert status(card).staged_write_id is None


def test_another_digest_changes_nothing() -> None:
    card = Card()
    before = decode(card.saved[-1])
    assert outcome(card, issuer.set_life_state("set_up"), issuer.commit(WRITE_ID, "x", bytes(32))) == 0x69F1
    after = decode(card.saved[-1])
    assert (after.life, after.applets, after.last_write) == (before.life, before.applets, None)


def test_leaving_a_part_out_is_noticed() -> None:
    card = Card()
    digest = issuer.running_digest(issuer.start_digest(WRITE_ID), [*jpki_part(), issuer.set_life_state("set_up")])
    assert outcome(card, issuer.set_life_state("set_up"), issuer.commit(WRITE_ID, "x", digest)) == 0x69F1


def test_commit_is_idempotent_and_a_settled_write_does_not_open_again() -> None:
    card = Card()
    digest = card.write(isd=[issuer.set_life_state("set_up")], step="s")
    saves = len(card.saved)
    assert card.script(layout.ISD, [issuer.commit(WRITE_ID, "s", digest)]).ok
    assert len(card.saved) == saves + 1  # the channel's count alone
    assert card.script(layout.ISD, [issuer.begin(layout.ISD, WRITE_ID)]).status == 0x69F3
    assert card.script(layout.ISD, [issuer.rollback(WRITE_ID)]).status == 0x69F3
    assert card.script(layout.ISD, [issuer.commit(NEXT_ID, "s", digest)]).status == 0x6985


def test_rollback_is_remembered() -> None:
    card = Card()
    assert outcome(card, issuer.set_life_state("set_up")) == 0x9000
    assert card.script(layout.ISD, [issuer.begin(layout.ISD, NEXT_ID)]).status == 0x69F2
    assert card.script(layout.ISD, [issuer.rollback(WRITE_ID), issuer.rollback(WRITE_ID)]).ok
    last = status(card).last_write
    assert last is not None
    assert (last.write_id, last.committed) == (WRITE_ID, False)
    assert card.script(layout.ISD, [issuer.begin(layout.ISD, WRITE_ID)]).status == 0x69F3
    card.write(write_id=NEXT_ID, isd=[issuer.set_life_state("set_up")])


def test_life_states() -> None:
    card = Card()
    for n, (state, word) in enumerate(
        (
            ("in_use", 0x6985),
            ("set_up", 0x9000),
            ("suspended", 0x6985),
            ("in_use", 0x9000),
            ("made", 0x6985),
            ("suspended", 0x9000),
            ("in_use", 0x9000),
            ("terminated", 0x9000),
        )
    ):
        write_id, command = bytes((n,)) * 16, issuer.set_life_state(state)  # type: ignore[arg-type]
        digest = issuer.running_digest(issuer.start_digest(write_id), [command])
        end = issuer.commit(write_id, "life", digest)
        assert card.script(layout.ISD, [issuer.begin(layout.ISD, write_id), command, end]).status == word
        card.chip.reset()
    assert status(card).life == "terminated"
    assert card.script(layout.ISD, [issuer.begin(layout.ISD, WRITE_ID)]).status == 0x6985


def sign(card: Card, pin: str = PINS["authentication"]) -> bytes:
    async def work() -> bytes:
        await client.verify_pin(card.transmit, layout.JPKI, layout.AUTHENTICATION_PIN, pin)
        return await client.sign_digest(card.transmit, "authentication", b"digest info")

    return run(work())


def test_a_suspended_card_keeps_its_pins_and_refuses_its_keys() -> None:
    card = card_in_use()
    card.write(isd=[issuer.set_life_state("suspended")])
    with pytest.raises(CardRefused, match="6985"):
        sign(card)
    card.write(write_id=NEXT_ID, isd=[issuer.set_life_state("in_use")])
    assert len(sign(card)) == 256


def test_a_terminated_card_shows_only_what_is_free() -> None:
    card = card_in_use()
    card.write(isd=[issuer.set_life_state("terminated")])
    with pytest.raises(CardRefused, match="6985"):
        sign(card)
    assert run(client.tries_left(card.transmit, layout.JPKI, layout.AUTHENTICATION_PIN)) == 3
    assert run(client.read_ef(card.transmit, layout.JPKI, layout.AUTHENTICATION_CERTIFICATE))
    with pytest.raises(CardRefused, match="6982"):
        run(client.read_ef(card.transmit, layout.JPKI, layout.SIGNATURE_CERTIFICATE))


def test_keys_are_of_no_use_before_delivery() -> None:
    card = Card()
    card.write(jpki=[*jpki_part(), issuer.open_pin_window(layout.JPKI, 0x18)], isd=[issuer.set_life_state("set_up")])
    set_pin(card, layout.JPKI, 0x18, "1234")
    with pytest.raises(CardRefused, match="6985"):
        sign(card)


def test_files_are_created_with_a_rule_and_limited() -> None:
    card = Card()
    rule = Access(refs=(0x1C,))
    assert outcome(card, *issuer.put_ef(layout.JUKI, 0x0021, b"x")) == 0x6A82
    card.chip.reset()
    new = issuer.put_ef(layout.JUKI, 0x0021, bytes(range(256)) * 20, read=rule, chunk=200)
    assert len(new) == 26
    card.write(isd=new)
    applet = card.chip.image.applet(layout.JUKI)
    assert applet is not None
    ef = applet.ef(0x21)
    assert ef is not None
    assert (ef.content, ef.read) == (bytes(range(256)) * 20, rule)
    assert outcome_of(card, issuer.put_ef(layout.JUKI, 0x0021, bytes(0x8001))) == 0x6A84
    assert outcome_of(card, issuer.put_ef(layout.COMMON, 0x0001, b"\x01\x05abc")) == 0x6A80
    assert outcome_of(card, issuer.put_ef(b"\xa0" * 7, 0x0001, b"x")) == 0x6A82


def outcome_of(card: Card, commands: tuple[issuer.IssuerCommand, ...]) -> int:
    card.chip.reset()
    return card.script(layout.ISD, [issuer.begin(layout.ISD, NEXT_ID), *commands]).status


def test_staging_has_a_limit() -> None:
    card = Card()
    full = issuer.put_ef(layout.TEXT, 4, bytes(32000)) * 9
    assert outcome(card, *full) == 0x6A84


def test_particulars_are_added_until_the_room_is_full() -> None:
    card = Card()
    card.write(isd=[issuer.append_particulars(f"令和８年{n}月 住所変更") for n in range(layout.PARTICULARS_MAX)])
    assert outcome_of(card, (issuer.append_particulars("one more"),)) == 0x6A84


def test_only_rsa_2048_goes_into_a_key_slot() -> None:
    card = Card()
    assert outcome(card, issuer.put_key_pair("signature", b"no key"), aid=layout.JPKI) == 0x6A80
    damaged = bytearray(pkcs8(rsa_key("signature")))
    damaged[600] ^= 1
    for wrong in (bytes(damaged), pkcs8(rsa.generate_private_key(65537, 1024))):  # noqa: S505 - refused for it
        card.chip.reset()
        assert outcome(card, issuer.put_key_pair("signature", wrong), aid=layout.JPKI) == 0x6A80


def test_verification_numbers_need_their_form() -> None:
    card = Card()
    assert outcome(card, issuer.set_verification_number(layout.TEXT, 0x14, "12345678901")) == 0x6A80
    card.chip.reset()
    assert outcome(card, issuer.set_verification_number(layout.TEXT, 0x11, "1234")) == 0x6985
    card.chip.reset()
    assert outcome(card, issuer.open_pin_window(layout.TEXT, 0x14)) == 0x6985


# --- PIN windows --------------------------------------------------------------------------------------------------


def card_key(card: Card) -> client.CardKey:
    return run(client.read_card_key(card.transmit, spki(rsa_key("management"))))


def set_pin(card: Card, aid: bytes, ref: int, pin: str, write_id: bytes = WRITE_ID) -> None:
    window = client.PinWindow(aid, ref, write_id)
    run(client.set_pin(card.transmit, card_key(card), window, pin, SeededEntropy(pin.encode())))


def test_a_window_is_used_once() -> None:
    card = Card()
    card.write(isd=[issuer.open_pin_window(layout.TEXT, 0x11)])
    sealed = client.seal_pin(card_key(card), client.PinWindow(layout.TEXT, 0x11, WRITE_ID), "1234", SeededEntropy())
    command = f"802C0011{len(sealed):02X}{sealed.hex()}"
    card.select(layout.TEXT)
    assert card.send(command) == "9000"
    assert card.send(command) == "6985"
    card.write(write_id=NEXT_ID, isd=[issuer.open_pin_window(layout.TEXT, 0x11)])
    card.select(layout.TEXT)
    assert card.send(command) == "6988"
    assert status(card).windows == (client.PinWindow(layout.TEXT, 0x11, NEXT_ID),)


def test_an_open_window_outlives_a_break_and_can_be_closed() -> None:
    card = Card()
    card.write(isd=[issuer.open_pin_window(layout.TEXT, 0x11)])
    card.chip.reset()
    assert len(status(card).windows) == 1
    card.write(write_id=NEXT_ID, isd=[issuer.close_pin_windows(layout.TEXT)])
    assert status(card).windows == ()
    with pytest.raises(CardRefused, match="6985"):
        set_pin(card, layout.TEXT, 0x11, "1234")


def test_a_pin_without_its_form_leaves_the_window_open() -> None:
    card = Card()
    card.write(jpki=[issuer.open_pin_window(layout.JPKI, 0x1B)], isd=[issuer.set_life_state("set_up")])
    for bad in ("ABCDEF", "123456", "AB12", "A" * 16 + "1", "ABC-12"):
        with pytest.raises(CardRefused, match="6A80"):
            set_pin(card, layout.JPKI, 0x1B, bad)
    set_pin(card, layout.JPKI, 0x1B, "abc123")
    run(client.verify_pin(card.transmit, layout.JPKI, 0x1B, "ABC123"))


def test_a_window_unblocks_only_when_it_may() -> None:
    card = card_in_use()
    block(card)
    card.write(isd=[issuer.open_pin_window(layout.TEXT, 0x11, unblock=False)])
    with pytest.raises(CardRefused, match="6984"):
        set_pin(card, layout.TEXT, 0x11, "2222")
    card.write(write_id=NEXT_ID, isd=[issuer.open_pin_window(layout.TEXT, 0x11)])
    set_pin(card, layout.TEXT, 0x11, "2222", NEXT_ID)
    run(client.verify_pin(card.transmit, layout.TEXT, 0x11, "2222"))


def block(card: Card) -> None:
    for left in (2, 1, 0):
        with pytest.raises(WrongPin) as caught:
            run(client.verify_pin(card.transmit, layout.TEXT, 0x11, "0000"))
        assert caught.value.tries_left == left
    with pytest.raises(PinBlocked):
        run(client.verify_pin(card.transmit, layout.TEXT, 0x11, PINS["text"]))


def test_a_foreign_certificate_is_not_believed() -> None:
    with pytest.raises(CardCertificateInvalid):
        run(client.read_card_key(Card().transmit, spki(rsa_key("somebody else"))))


# --- PINs the holder knows ----------------------------------------------------------------------------------------


def test_pins_are_changed_by_their_holder() -> None:
    card = card_in_use()
    for aid, ref, old, new in (
        (layout.JPKI, 0x18, "1234", "4321"),
        (layout.JPKI, 0x1B, "ABC123", "XYZ789"),
        (layout.TEXT, 0x11, "5678", "8765"),
        (layout.JUKI, 0x1C, "9012", "2109"),
        (layout.COMMON, 0x1C, "9012", "2109"),
    ):
        run(client.change_pin(card.transmit, aid, ref, old, new))
        run(client.verify_pin(card.transmit, aid, ref, new))
        with pytest.raises(CardRefused, match="6A80"):
            run(client.change_pin(card.transmit, aid, ref, new, "12"))
    card.select(layout.TEXT)
    assert card.send("00240191" + "0431323334") == "6982"
    assert card.send("00240194" + "0C" + "31" * 12) == "6981"
    assert card.send("00240091" + "0431323334") == "6A86"


# --- power cuts ---------------------------------------------------------------------------------------------------


class PowerCutError(Exception):
    pass


def cut_at(image: bytes, count: int, *, written: bool, work: Callable[[Card], object]) -> tuple[bytes, bool]:
    """Run ``work`` on a card and cut its power at the count-th save; what the chip then remembers, and whether cut."""
    card = Card(image)
    saved = [image]

    def save(new: bytes) -> None:
        if len(saved) == count:
            if written:
                saved.append(new)
            raise PowerCutError
        saved.append(new)

    card.chip = Chip(image, save, SeededEntropy())
    try:
        work(card)
    except PowerCutError:
        return saved[-1], True
    return saved[-1], False


def whole_write(card: Card) -> None:
    card.write(jpki=jpki_part(), isd=[issuer.set_life_state("set_up"), issuer.open_pin_window(layout.TEXT, 0x11)])
    set_pin(card, layout.TEXT, 0x11, "1234")


def test_a_cut_at_any_save_leaves_a_write_whole_or_absent() -> None:
    image = blank_image()
    seen = set()
    for count in range(1, 6):
        for written in (False, True):
            left, was_cut = cut_at(image, count, written=written, work=whole_write)
            now = decode(left)
            done = now.last_write is not None and now.last_write.committed
            jpki = now.applet(layout.JPKI)
            assert jpki is not None
            keys = [key.private_key for key in jpki.keys if key.use == "signature"]
            assert (now.life == "set_up") == done
            assert all(keys) == any(keys) == done
            text = now.applet(layout.TEXT)
            assert text is not None
            pin = text.pins[0]
            assert not (pin.value and pin.window)
            assert (pin.value or pin.window) if done else not (pin.value or pin.window)
            seen.add((was_cut, done, bool(pin.value)))
    assert seen == {(True, False, False), (True, True, False), (True, True, True), (False, True, True)}


@pytest.mark.parametrize("guess", ["0000", "1234"])
def test_no_cut_gives_a_try_back(guess: str) -> None:
    image = card_in_use().saved[-1]
    for count in (1, 2):
        for written in (False, True):
            left, _ = cut_at(image, count, written=written, work=lambda card: try_pin(card, guess))
            tries = tries_of(left)
            right, lowered = guess == "1234", count == 2 or written
            assert tries == (3 if not lowered or (right and count == 2 and written) else 2)


def try_pin(card: Card, guess: str) -> None:
    try:
        run(client.verify_pin(card.transmit, layout.JPKI, 0x18, guess))
    except WrongPin:
        return


def tries_of(image: bytes) -> int:
    applet = decode(image).applet(layout.JPKI)
    assert applet is not None
    return applet.pins[0].tries_left


def test_a_cut_resets_the_chip() -> None:
    card = card_in_use()
    run(client.verify_pin(card.transmit, layout.TEXT, 0x11, PINS["text"]))

    def fail(_: bytes) -> None:
        raise PowerCutError

    card.chip._state.save = fail
    with pytest.raises(PowerCutError):
        card.send("002000910430303030")
    assert card.send("00A4020C020002") == "6986"


def test_damaged_images_are_refused() -> None:
    image = blank_image()
    for bad in (b"", image[:-1], image[:50] + b"\x00" + image[51:], b"WRFC\x00\x02" + image[6:]):
        with pytest.raises(ImageDamaged):
            Chip(bad, lambda _: None, SeededEntropy())


def test_the_same_entropy_makes_the_same_card() -> None:
    """In another process too: nothing depends on hash order."""
    program = "from chip_kit import *; import hashlib; print(hashlib.sha256(personalise.manufacture(CARD_ID, isd_keys=static_keys(layout.ISD), jpki_keys=static_keys(layout.JPKI), card_key=personalise.new_card_key(SeededEntropy()))).hexdigest())"  # noqa: E501
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            cwd=os.path.dirname(__file__),  # noqa: PTH120 - a plain string is wanted
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert contents.key_id("6000024").hex() == "36303030303234" + "0805" + "303031" + "00000000"
