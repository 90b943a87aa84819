"""Papers: one page each, readable by machines too, in Japanese type that is inside the file."""

import datetime
import io

import msgspec
import pytest
from pypdf import PdfReader

from warifu.adapters.papers import (
    ApplicationForm,
    DeliveryNotice,
    DeliveryNotices,
    Entry,
    Paper,
    Particulars,
    Press,
    Receipt,
    TooLong,
)

DAY = datetime.date(2026, 4, 1)
ID = "12345678901234567890123"
FORM = ApplicationForm(
    application_id=ID,
    name="割符　花子",
    address="東京都千代田区霞が関二丁目１番２号",
    birth_date=datetime.date(1980, 2, 17),
    municipality="東京都千代田区",
    printed_on=DAY,
)
NOTICE = DeliveryNotice(
    application_id=ID,
    name="髙﨑　𠮷邉濵",
    address="東京都千代田区霞が関二丁目１番２号",
    municipality="東京都千代田区",
    counter="千代田区役所　２階",
    hours="平日 8時30分～17時",
    until=datetime.date(2026, 6, 30),
    under_15=False,
    printed_on=DAY,
)
RECEIPT = Receipt(
    name="割符　花子",
    card_id="WRF000000000001",
    expires_on=datetime.date(2036, 2, 17),
    certificates=("署名用", "利用者証明用"),
    municipality="東京都千代田区",
    clerk="窓口３",
    delivered_on=DAY,
)
ENTRY = Entry(day=DAY, text="住所変更　東京都新宿区西新宿二丁目８番１号", municipality="新宿区")
PARTICULARS = Particulars(entries=(ENTRY, ENTRY), skip=1)
PAPERS: tuple[Paper, ...] = (FORM, NOTICE, RECEIPT, PARTICULARS)
CARD_POINTS = (85.6 / 25.4 * 72, 53.98 / 25.4 * 72)


def read(paper: Paper) -> PdfReader:
    return PdfReader(io.BytesIO(Press().pdf(paper)))


def text(paper: Paper) -> str:
    return (
        "".join(page.extract_text() for page in read(paper).pages).replace("\n", "").replace(" ", "")
    )  # Typst sets a space between scripts


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.FORM)
def test_each_paper_is_one_tagged_page_with_its_fonts_inside(paper: Paper) -> None:
    pages = read(paper)
    assert len(pages.pages) == 1
    assert "/StructTreeRoot" in pages.root_object
    fonts = pages.pages[0]["/Resources"]["/Font"]  # type: ignore[index]  # pypdf's objects are dictionaries at heart
    assert fonts
    assert all("Noto" in str(font.get_object()["/BaseFont"]) for font in fonts.values())


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.FORM)
def test_the_same_paper_may_be_looked_at_on_a_screen(paper: Paper) -> None:
    assert Press().png(paper).startswith(b"\x89PNG")


def test_a_notice_names_the_holder_the_place_and_the_last_day() -> None:
    said = text(NOTICE)
    for part in ("髙﨑", "𠮷邉濵", "千代田区役所", "令和8年6月30日", "東京都千代田区長"):
        assert part in said, said


def test_who_is_under_15_comes_with_a_representative_and_has_no_signature_password() -> None:
    child = text(msgspec.structs.replace(NOTICE, under_15=True))
    assert "法定代理人がそろって" in child
    assert "署名用" in text(NOTICE)
    assert "署名用" not in child


def test_a_receipt_says_what_was_handed_over_and_to_whom() -> None:
    said = text(msgspec.structs.replace(RECEIPT, proxy="割符　太郎", returned_card=True))
    for part in ("WRF000000000001", "署名用、利用者証明用", "代理人", "割符", "令和18年2月17日", "あり"):
        assert part in said, said


def test_appended_particulars_are_a_page_of_the_cards_size() -> None:
    page = read(PARTICULARS).pages[0]
    assert (float(page.mediabox.width), float(page.mediabox.height)) == pytest.approx(CARD_POINTS, abs=0.1)
    assert text(PARTICULARS).count("新宿区長") == 2


def test_what_does_not_fit_the_cards_line_is_refused_without_being_quoted() -> None:
    long = msgspec.structs.replace(ENTRY, text="長" * 120)
    with pytest.raises(TooLong) as refused:
        Press().pdf(Particulars(entries=(long,)))
    assert "長長" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_longest_name_and_address_make_one_page_and_what_does_not_is_refused() -> None:
    longest = msgspec.structs.replace(NOTICE, name="髙" * 100, address="﨑" * 200)
    assert len(read(longest).pages) == 1
    with pytest.raises(TooLong):
        Press().pdf(msgspec.structs.replace(longest, counter="邉" * 200, hours="時" * 200, municipality="市" * 200))


def test_markup_in_a_name_is_a_name() -> None:
    assert "#panic(1)*x*$y$" in text(msgspec.structs.replace(RECEIPT, name="#panic(1)*x*$y$"))


def test_the_notices_of_a_tray_are_a_page_each_in_one_file() -> None:
    other = msgspec.structs.replace(NOTICE, name="割符　次郎")
    pages = read(DeliveryNotices(all=(NOTICE, other))).pages
    said = [page.extract_text() for page in pages]
    assert len(pages) == 2
    assert ["髙﨑" in said[0], "次郎" in said[0], "髙﨑" in said[1], "次郎" in said[1]] == [True, False, False, True]


def test_a_notice_that_needs_two_pages_is_refused_among_others_too() -> None:
    long = msgspec.structs.replace(
        NOTICE, address="﨑" * 200, counter="邉" * 200, hours="時" * 200, municipality="市" * 200
    )
    with pytest.raises(TooLong):
        Press().pdf(DeliveryNotices(all=(NOTICE, msgspec.structs.replace(long, name="髙" * 100))))
