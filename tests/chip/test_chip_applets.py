"""The free area takes applets; JICSAP's administration commands; files and profiles of a card."""

import pytest
from chip_kit import (
    NUMBER_A,
    NUMBER_B,
    PINS,
    WRITE_ID,
    Card,
    SeededEntropy,
    card_in_use,
    certificate,
    pkcs8,
    rsa_key,
    run,
    spki,
)
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from warifu.chip import client, issuer, layout, loading, personalise, tlv
from warifu.chip.card import Chip
from warifu.chip.errors import BadContent, PinBlocked, WrongPin
from warifu.chip.image import Access, Applet, Ef, Key, Pin

LIBRARY = bytes.fromhex("D39200010001100001")
NEXT_ID = b"next id " * 2
LIBRARY_KEYS = issuer.StaticKeys(enc=b"e" * 16, mac=b"m" * 16, dek=b"d" * 16)


def library_card() -> Applet:
    """A town's library card: a number anyone reads, loans behind a PIN."""
    return Applet(
        LIBRARY,
        b"",
        efs=(Ef(0x0001, Access(free=True)), Ef(0x0002, Access(refs=(0x11,)), records=True), Ef(0x0003, Access())),
        pins=(Pin(0x0011, "four_digits", 5, "change_key"),),
        keys=(Key(0x0017, 0x11),),
    )


def with_library() -> Card:
    card = card_in_use()
    card.write(
        isd=[
            issuer.install_applet(library_card()),
            *issuer.put_ef(LIBRARY, 1, b"reader 4711"),
            *issuer.put_ef(LIBRARY, 2, b"\x01\x04Koko\x02\x05Genji"),
            issuer.open_pin_window(LIBRARY, 0x11),
        ]
    )
    return card


def test_a_library_card_is_loaded_given_its_contents_and_used() -> None:
    card = with_library()
    key = run(client.read_card_key(card.transmit, spki(rsa_key("management"))))
    window = client.PinWindow(LIBRARY, 0x11, WRITE_ID)
    run(client.set_pin(card.transmit, key, window, "2468", SeededEntropy()))
    card.chip.reset()
    assert run(client.read_ef(card.transmit, LIBRARY, 1)) == b"reader 4711"
    card.send("00A4020C020002")
    assert card.send("00B2010400") == "6982"
    with pytest.raises(WrongPin) as caught:
        run(client.verify_pin(card.transmit, LIBRARY, 0x11, "0000"))
    assert caught.value.tries_left == 4
    run(client.verify_pin(card.transmit, LIBRARY, 0x11, "2468"))
    card.send("00A4020C020002")
    assert card.send("00B2010500") == b"\x01\x04Koko\x02\x05Genji".hex().upper() + "9000"
    assert card.send("80320091" + "04" + b"1357".hex()) == "9000"
    assert card.send("00A4020C020003") == "9000"
    assert card.send("00B0000000") == "6982"
    assert (LIBRARY, 0x11) in {(pin.aid, pin.ref) for pin in run(client.read_card_status(card.transmit)).pins}


def test_a_deleted_applet_is_gone_with_everything_in_it() -> None:
    card = with_library()
    card.select(LIBRARY)
    card.write(write_id=NEXT_ID, isd=[issuer.delete_applet(LIBRARY)])
    assert card.send(f"00A4040C09{LIBRARY.hex()}") == "6A82"
    assert b"reader 4711" not in card.saved[-1]
    card.write(write_id=WRITE_ID, isd=[issuer.install_applet(library_card())])
    assert card.send(f"00A4040C09{LIBRARY.hex()}") == "9000"


def test_an_applet_with_a_domain_of_its_own_is_written_by_its_owner_only() -> None:
    card = card_in_use()
    card.write(isd=[issuer.install_applet(library_card(), LIBRARY_KEYS)])
    own = issuer.put_ef(LIBRARY, 1, b"by the library", domain=LIBRARY)
    channel = library_channel(card)
    assert run(client.run_script(card.transmit, channel.script([begin_library(), *own]))).ok
    digest = issuer.running_digest(issuer.start_digest(NEXT_ID), own)
    end = [issuer.begin(layout.ISD, NEXT_ID), issuer.commit(NEXT_ID, "library", digest)]
    assert card.script(layout.ISD, end).ok
    assert run(client.read_ef(card.transmit, LIBRARY, 1)) == b"by the library"
    card.chip.reset()
    foreign = [issuer.begin(layout.ISD, WRITE_ID[::-1]), *issuer.put_ef(LIBRARY, 1, b"not by it")]
    assert card.script(layout.ISD, foreign).status == 0x6982
    card.chip.reset()
    channel = library_channel(card)
    theirs = issuer.put_ef(layout.JUKI, 3, b"x", domain=LIBRARY)
    again = issuer.begin(LIBRARY, WRITE_ID[::-1], domain=LIBRARY)
    assert run(client.run_script(card.transmit, channel.script([again, *theirs]))).status == 0x6982


CIVIL_SERVANT = bytes.fromhex("D39200010001200001")


def test_a_civil_servants_identity_card_signs_with_a_key_its_owner_put_there() -> None:
    """A second owner's applet: certificate, PIN, a signature key and one that proves the card without a PIN."""
    card = card_in_use()
    applet = Applet(
        CIVIL_SERVANT,
        b"",
        efs=(Ef(0x0001, Access(free=True)),),
        pins=(Pin(0x0011, "four_digits", 3, "reference_data"),),
        keys=(Key(0x0017, 0x11), Key(0x0019, use="internal")),
    )
    card.write(isd=[issuer.install_applet(applet, LIBRARY_KEYS)])
    own = [
        *issuer.put_ef(CIVIL_SERVANT, 1, certificate("authentication", "auth CA"), domain=CIVIL_SERVANT),
        issuer.put_key(CIVIL_SERVANT, 0x17, pkcs8(rsa_key("authentication")), domain=CIVIL_SERVANT),
        issuer.put_key(CIVIL_SERVANT, 0x19, pkcs8(rsa_key("below")), domain=CIVIL_SERVANT),
        issuer.open_pin_window(CIVIL_SERVANT, 0x11, domain=CIVIL_SERVANT),
    ]
    start = issuer.begin(CIVIL_SERVANT, NEXT_ID, domain=CIVIL_SERVANT)
    assert run(client.run_script(card.transmit, library_channel(card, CIVIL_SERVANT).script([start, *own]))).ok
    digest = issuer.running_digest(issuer.start_digest(NEXT_ID), own)
    end = [issuer.begin(layout.ISD, NEXT_ID), issuer.commit(NEXT_ID, "state", digest)]
    assert card.script(layout.ISD, end).ok
    key = run(client.read_card_key(card.transmit, spki(rsa_key("management"))))
    window = client.PinWindow(CIVIL_SERVANT, 0x11, NEXT_ID)
    run(client.set_pin(card.transmit, key, window, "7777", SeededEntropy()))
    card.chip.reset()
    card.select(CIVIL_SERVANT)
    assert card.send("802A039705" + b"tally".hex() + "00") == "6982"
    assert len(card.send("0088009905" + b"tally".hex() + "00")) == 2 * 258
    run(client.verify_pin(card.transmit, CIVIL_SERVANT, 0x11, "7777"))
    signature = bytes.fromhex(card.send("802A039705" + b"tally".hex() + "00"))[:-2]
    rsa_key("authentication").public_key().verify(signature, b"tally", padding.PKCS1v15(), SHA256())
    card.select(layout.JPKI)
    assert card.send("802A039705" + b"tally".hex() + "00") == "6982"


def library_channel(card: Card, aid: bytes = LIBRARY) -> issuer.HostChannel:
    card.select(aid)
    response = card.chip.transmit(issuer.initialize_update(b"hostchal"))
    challenge = issuer.parse_initialize_update(response).card_challenge
    keys = issuer.session_keys(LIBRARY_KEYS, b"hostchal", challenge)
    return issuer.HostChannel(aid, keys, b"hostchal", response)


def begin_library() -> issuer.IssuerCommand:
    return issuer.begin(LIBRARY, NEXT_ID, domain=LIBRARY)


def install_status(applet: Applet, *, card: Card | None = None) -> int:
    card = card or Card()
    return card.script(layout.ISD, [issuer.begin(layout.ISD, WRITE_ID), issuer.install_applet(applet)]).status


@pytest.mark.parametrize(
    ("applet", "word"),
    [
        (Applet(layout.TEXT, b""), 0x6985),
        (Applet(layout.TEXT[:7], b""), 0x6985),
        (Applet(layout.JPKI + b"\x01", b""), 0x6985),
        (Applet(b"\xd3\x92", b""), 0x6A80),
        (Applet(bytes(17), b""), 0x6A80),
        (Applet(LIBRARY, b"", efs=(Ef(1, Access()), Ef(1, Access()))), 0x6A80),
        (Applet(LIBRARY, b"", efs=(Ef(1, Access(refs=(0x11,))),)), 0x6A80),
        (Applet(LIBRARY, b"", pins=(Pin(0x11, "four_digits", 0),)), 0x6A80),
        (Applet(LIBRARY, b"", pins=(Pin(0x1F, "four_digits", 3),)), 0x6A80),
        (Applet(LIBRARY, b"", efs=tuple(Ef(n, Access()) for n in range(1, 40))), 0x6A80),
    ],
)
def test_what_the_free_area_does_not_take(applet: Applet, word: int) -> None:
    assert install_status(applet) == word


def test_the_free_area_is_limited_and_built_in_applets_stay() -> None:
    card = Card()
    four = [issuer.install_applet(Applet(LIBRARY + bytes((n,)), b"")) for n in range(layout.LOADED_MAX)]
    card.write(isd=four)
    assert card.script(layout.ISD, [issuer.begin(layout.ISD, NEXT_ID), four_more()]).status == 0x6A84
    for aid, word in ((layout.JPKI, 0x6985), (b"\xa0" * 8, 0x6A82)):
        card.chip.reset()
        delete = issuer.delete_applet(aid)
        assert card.script(layout.ISD, [issuer.begin(layout.ISD, NEXT_ID), delete]).status == word
    card.chip.reset()
    foreign = issuer.IssuerCommand(layout.JPKI, loading.DELETE_APPLET, 0, 0, issuer.delete_applet(LIBRARY).data)
    assert card.script(layout.JPKI, [issuer.begin(layout.JPKI, NEXT_ID), foreign]).status == 0x6982


def four_more() -> issuer.IssuerCommand:
    return issuer.install_applet(Applet(LIBRARY + b"\x77", b""))


def test_an_unknown_part_of_a_description_is_refused() -> None:
    card = Card()
    for extra in (tlv.encode(0xA4, b""), tlv.encode(0xAE, bytes(47)), tlv.encode(0xA1, tlv.encode(0x51, b"\x00\x01"))):
        card.chip.reset()
        odd = issuer.IssuerCommand(layout.ISD, loading.INSTALL_APPLET, 0, 0, tlv.encode(0x4F, LIBRARY) + extra)
        assert card.script(layout.ISD, [issuer.begin(layout.ISD, WRITE_ID), odd]).status == 0x6A80


# --- JICSAP's administration commands -----------------------------------------------------------------------------


def test_in_the_clear_they_are_the_issuers_only() -> None:
    card = card_in_use()
    card.select(layout.TEXT)
    for command, word in (
        ("80500000", "6982"),
        ("80520000", "6982"),
        ("80540091", "6982"),
        ("808A2200", "6982"),
        ("808A2400", "6982"),
        ("808A0000", "6A86"),
        ("80FC0000", "6700"),
    ):
        assert card.send(command) == word


def test_unlock_key_gives_the_tries_back_and_keeps_the_value() -> None:
    card = card_in_use()
    for _ in range(3):
        with pytest.raises(WrongPin):
            run(client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, "0000"))
    with pytest.raises(PinBlocked):
        run(client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, PINS["text"]))
    card.write(isd=[issuer.unlock_pin(layout.TEXT, layout.TEXT_PIN)])
    run(client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, PINS["text"]))
    never = issuer.unlock_pin(layout.TEXT, layout.TEXT_BLOCKED)
    assert card.script(layout.ISD, [issuer.begin(layout.ISD, NEXT_ID), never]).status == 0x6985


def test_a_locked_applet_can_be_selected_and_nothing_else() -> None:
    card = card_in_use()
    card.write(isd=[issuer.lock_applet(layout.TEXT)])
    card.select(layout.TEXT)
    assert card.send("00A4020C020005") == "9000"
    for command in ("00B0000000", "00200091" + "0431323334", "802A0300010000", "08B0000005960300000000"):
        assert card.send(command) == "6985"
    card.select(layout.FACE)
    assert card.send("00B0830001").endswith("9000")
    card.write(write_id=NEXT_ID, isd=[issuer.unlock_applet(layout.TEXT)])
    card.select(layout.TEXT)
    assert card.send("00B0850001").endswith("9000")
    self_lock = issuer.lock_applet(layout.ISD)
    assert card.script(layout.ISD, [issuer.begin(layout.ISD, b"third id" * 2), self_lock]).status == 0x6985


def test_manage_attributes_changes_who_reads() -> None:
    card = card_in_use()
    card.write(isd=[issuer.set_access(layout.FACE, 3, Access(refs=(layout.FACE_NUMBER_B,)))])
    card.select(layout.FACE)
    assert card.send("00B0830001") == "6982"
    run(client.verify_pin(card.transmit, layout.FACE, layout.FACE_NUMBER_B, NUMBER_B))
    assert card.send("00B0830001").endswith("9000")
    data = issuer.set_access(layout.FACE, 3, Access()).data
    for p1, word in ((0x24, 0x6A81), (0x00, 0x6A86)):
        card.chip.reset()
        odd = issuer.IssuerCommand(layout.ISD, 0x8A, p1, 0, data)
        assert card.script(layout.ISD, [issuer.begin(layout.ISD, NEXT_ID), odd]).status == word


# --- files, numbers, profiles -------------------------------------------------------------------------------------


def test_every_file_the_public_sources_list_is_there() -> None:
    card = card_in_use()
    listed = {
        layout.JPKI: "1 2 5 6 8 9 A B 10 16 17 18 19 1A 1B 1C 1E",
        layout.TEXT: "1 2 3 4 5 6 7 8 10 11 12 13 14 15 1C 1E",
        layout.FACE: "1 2 3 4 5 6 11 12 13 1A 1C 1E",
        layout.COMMON: "1 2 19 1C 1E",
        layout.JUKI: "2 1C",
    }
    for aid, names in listed.items():
        card.select(aid)
        for name in names.split():
            assert card.send(f"00A4020C02{int(name, 16):04X}") == "9000", name


@pytest.mark.parametrize(
    ("aid", "fid", "word"),
    [
        (layout.JPKI, 0x05, "6982"),
        (layout.JPKI, 0x09, "6982"),
        (layout.JPKI, 0x10, "6981"),
        (layout.JPKI, 0x1E, "6981"),
        (layout.TEXT, 0x08, "6982"),
        (layout.FACE, 0x06, "6982"),
        (layout.COMMON, 0x1E, "6981"),
    ],
)
def test_files_of_unknown_content_are_there_and_say_nothing(aid: bytes, fid: int, word: str) -> None:
    card = card_in_use()
    card.select(aid)
    assert card.send(f"00A4020C02{fid:04X}") == "9000"
    assert card.send("00B0000000") == word


@pytest.mark.parametrize(
    ("aid", "ref", "value", "opened"),
    [
        (layout.TEXT, layout.TEXT_PIN, PINS["text"], {1, 2, 3, 4, 5, 6, 7, 8}),
        (layout.TEXT, layout.TEXT_NUMBER_A, NUMBER_A, {1, 3, 4, 5, 6, 7, 8}),
        (layout.TEXT, layout.TEXT_NUMBER_B, NUMBER_B, {2, 3, 4, 5, 8}),
        (layout.FACE, layout.FACE_BIRTH, NUMBER_B[:6], {1, 3, 4}),
        (layout.FACE, layout.FACE_NUMBER_A, NUMBER_A, {2, 3, 4, 5, 6}),
        (layout.FACE, layout.FACE_NUMBER_B, NUMBER_B, {2, 3, 4, 6}),
    ],
)
def test_what_each_number_opens(aid: bytes, ref: int, value: str, opened: set[int]) -> None:
    card = card_in_use()
    run(client.verify_pin(card.transmit, aid, ref, value))
    last = 8 if aid == layout.TEXT else 6
    for fid in range(1, last + 1):
        card.send(f"00A4020C02{fid:04X}")
        assert card.send("00B0000001")[-4:] == ("9000" if fid in opened else "6982"), fid


def test_a_number_that_is_tried_ten_times_is_blocked_in_its_applet_only() -> None:
    card = card_in_use()
    card.select(layout.FACE)
    for left in range(9, -1, -1):
        assert card.send("00200093" + "0C" + "30" * 12) == f"63C{left:X}"
    assert card.send("00200093" + "0C" + NUMBER_A.encode().hex()) == "6984"
    run(client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_NUMBER_A, NUMBER_A))


def test_a_card_has_the_reset_profile_it_was_made_with() -> None:
    image = card_in_use().saved[-1]
    for interface, contact, seen in (
        ("contact", layout.CONTACT_ATR, layout.CONTACT_ATR),
        *(("contact", atr, atr) for atr in layout.CONTACT_ATRS[1:]),
        ("contactless", layout.CONTACT_ATRS[2], layout.CONTACTLESS_ATR),
    ):
        card = Card(personalise.with_reset_profile(image, interface, contact_atr=contact))  # type: ignore[arg-type]
        assert card.chip.atr == seen
        for aid in (layout.ISD, layout.JPKI):
            card.select(aid)
            assert card.send("00CA5F5100") == contact[1:].hex().upper() + "9000"
    with pytest.raises(BadContent):
        personalise.with_reset_profile(image, "contact", contact_atr=layout.CONTACT_ATR[:-1] + b"\x00")


def test_a_card_for_pyjpki_keeps_its_pins_through_a_reselect() -> None:
    image = personalise.with_reset_profile(card_in_use().saved[-1], "contact", clear_on_reselect=False)
    card = Card()
    card.chip = Chip(image, card.saved.append, SeededEntropy())
    run(client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, PINS["text"]))
    card.select(layout.TEXT)
    card.send("00A4020C020002")
    assert card.send("00B0000001").endswith("9000")
