"""Artwork: what is drawn, what is said not to be drawn exactly, which photos are refused before they cost anything."""

import hashlib
import io

import pylopdf_fonts_jp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageStat

from warifu.adapters.artwork import PORTRAIT_MAX_BYTES, PORTRAIT_SIZE, PhotoLimits, PillowArtwork, _drawable, _wrapped
from warifu.adapters.photo_file import read_photo_file
from warifu.kernel.errors import Malformed
from warifu.ports.artwork import Artwork, DoesNotFit, NotPrintable, PhotoRefused
from warifu.synthetic.photos import portrait

artwork: Artwork = PillowArtwork()
PHOTO = portrait(1)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def ink_box(png: bytes) -> tuple[int, int, int, int]:
    box = opened(png).convert("L").point(lambda value: 255 - value).getbbox()
    assert box is not None
    return box


def photo(size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    """A JPEG with a coarse pattern, large enough as a file for ordinary sizes."""
    small = Image.frombytes("L", (60, 60), hashlib.shake_256(b"pattern").digest(3600))
    encoded = io.BytesIO()
    small.resize(size).convert(mode).save(encoded, "JPEG", **{"quality": 97, **options})
    return encoded.getvalue()


def test_the_font_is_the_one_that_was_measured() -> None:
    digest = hashlib.sha256(pylopdf_fonts_jp.sans_path().read_bytes()).hexdigest()
    assert digest == "dff723ba59d57d136764a04b9b2d03205544f7cd785a711442d6d2d085ac5073"


# ---- text


def test_a_text_image_is_one_bit_a_pixel_of_the_size_asked_for() -> None:
    image = opened(artwork.text_image("割符　花子", 300, 40).png)
    assert (image.format, image.mode, image.size) == ("PNG", "1", (300, 40))


def test_name_and_address_images_have_fixed_sizes() -> None:
    assert opened(artwork.name_image("髙﨑　𠮷郎").png).size == (480, 48)
    assert opened(artwork.address_image("東京都千代田区見本町１丁目２番３号").png).size == (480, 72)


@pytest.mark.parametrize("character", "髙﨑𠮷塚德濵邉邊桒栁𡈽〓葛")
def test_characters_of_names_that_broke_older_systems_are_shown_exactly(character: str) -> None:
    assert artwork.text_image(character, 40, 40).is_exact


def test_every_kanji_of_jis_levels_1_to_4_and_of_the_supplement_is_shown_exactly() -> None:
    kanji = {
        text
        for lead in (b"", b"\x8f")
        for row in range(0xA1, 0xFF)
        for cell in range(0xA1, 0xFF)
        for codec in ("euc_jp", "euc_jisx0213")
        if len(text := (lead + bytes((row, cell))).decode(codec, "ignore")) == 1 and _is_kanji(text)
    }
    assert len(kanji) > 13_000
    assert _drawable("".join(sorted(kanji))) == ("".join(sorted(kanji)), "0" * len(kanji))


def _is_kanji(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or character >= "\U00020000"


def test_a_character_the_font_lacks_is_drawn_as_geta_and_flagged() -> None:
    drawn = artwork.text_image("ERDOĞAN Ş", 200, 30)
    assert drawn.flags == "000010001"
    assert drawn.png == artwork.text_image("ERDO〓AN 〓", 200, 30).png


def test_a_variant_asked_for_is_drawn_in_its_usual_form_and_flagged() -> None:
    drawn = artwork.text_image("葛\U000e0100城", 200, 30)
    assert drawn.flags == "010"
    assert drawn.png == artwork.text_image("葛城", 200, 30).png


def test_no_name_is_normalised_into_another() -> None:
    assert artwork.text_image("\ufa19谷", 80, 40).png != artwork.text_image("神谷", 80, 40).png


@pytest.mark.parametrize("bad", ["", " ", "　", "割符\n花子", "割符\u202e花子", "\x00", "割\u200b符", "\ud800"])
def test_invisible_and_controlling_characters_are_refused(bad: str) -> None:
    with pytest.raises(NotPrintable):
        artwork.text_image(bad, 200, 40)


def test_a_short_text_is_large_and_a_long_one_takes_more_lines() -> None:
    short, long = artwork.text_image("割符", 480, 48), artwork.text_image("割符" * 40, 480, 48)
    assert ink_box(short.png)[3] - ink_box(short.png)[1] > 28
    assert ink_box(long.png)[2] > 400


def test_latin_words_are_kept_whole_where_they_can_be() -> None:
    assert _wrapped("SANTOS OLIVEIRA", 20, 120) == ["SANTOS ", "OLIVEIRA"]
    assert _wrapped("OLIVEIRAOLIVEIRA", 20, 120)[0].startswith("OLIVEIRAO")
    assert _wrapped("東京都千代田区", 20, 60) == ["東京都", "千代田", "区"]


def test_the_longest_name_and_address_of_the_contract_fit() -> None:
    assert artwork.name_image("髙" * 100).is_exact
    assert artwork.address_image("髙" * 200).is_exact


def test_what_does_not_fit_is_refused_not_cut() -> None:
    with pytest.raises(DoesNotFit):
        artwork.text_image("髙" * 161, 480, 48)


@settings(max_examples=40)
@given(
    st.text(st.characters(categories=("Lu", "Ll", "Lo", "Nd", "Pd", "Zs")), min_size=1, max_size=100),
    st.sampled_from([(480, 48), (480, 72), (300, 100)]),
)
def test_any_printable_text_is_drawn_the_same_way_twice_or_refused(text: str, box: tuple[int, int]) -> None:
    try:
        first = artwork.text_image(text, *box)
    except (NotPrintable, DoesNotFit):
        return
    assert first == artwork.text_image(text, *box)
    assert len(first.flags) == len(text)
    assert opened(first.png).size == box


def test_a_text_image_does_not_show_itself_in_a_log() -> None:
    assert repr(artwork.text_image("割符", 40, 40)).startswith("TextImage(")
    assert "PNG" not in repr(artwork.text_image("割符", 40, 40))


# ---- digits


def test_digit_images_have_the_sizes_of_the_real_card() -> None:
    number, code = opened(artwork.number_image("123456789018")), opened(artwork.code_image("2285"))
    assert (number.format, number.mode, number.size) == ("PNG", "1", (72, 12))
    assert (code.format, code.mode, code.size) == ("PNG", "1", (24, 12))


@given(st.text("0123456789", min_size=12, max_size=12))
def test_a_number_can_be_read_back_from_its_picture(number: str) -> None:
    shapes = {opened(artwork.code_image(digit * 4)).crop((0, 0, 6, 12)).tobytes(): digit for digit in "0123456789"}
    image = opened(artwork.number_image(number))
    assert "".join(shapes[image.crop((x, 0, x + 6, 12)).tobytes()] for x in range(0, 72, 6)) == number


@pytest.mark.parametrize("bad", ["", "12345678901", "1234567890123", "12345678901x", "12345678901８"])
def test_only_twelve_digits_are_a_number(bad: str) -> None:
    with pytest.raises(NotPrintable):
        artwork.number_image(bad)


# ---- portraits


@pytest.mark.parametrize("size", [(480, 600), (600, 600), (1400, 1800), (3000, 4000)])
def test_a_portrait_is_grey_jpeg_2000_that_fits_the_chip(size: tuple[int, int]) -> None:
    data = artwork.portrait_jpeg2000(photo(size, quality=70))
    image = opened(data)
    assert (image.format, image.mode, image.size) == ("JPEG2000", "L", PORTRAIT_SIZE)
    assert 2000 < len(data) <= PORTRAIT_MAX_BYTES


def test_a_portrait_resembles_its_photo() -> None:
    small = opened(PHOTO).convert("L").resize(PORTRAIT_SIZE)
    difference = Image.blend(small, opened(artwork.portrait_jpeg2000(PHOTO)).point(lambda value: 255 - value), 0.5)
    assert ImageStat.Stat(difference).stddev[0] < 4


def test_the_same_photo_gives_the_same_portrait() -> None:
    assert artwork.portrait_jpeg2000(PHOTO) == artwork.portrait_jpeg2000(PHOTO)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_taken_sideways_is_put_upright(orientation: int) -> None:
    upright = Image.new("L", (480, 640), 255)
    ImageDraw.Draw(upright).rectangle((0, 0, 239, 319), fill=0)  # dark at the upper left
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = io.BytesIO()
    stored.save(encoded, "JPEG", exif=exif, quality=97)
    lenient = PillowArtwork(PhotoLimits(min_bytes=1))
    assert (lenient.check_photo(encoded.getvalue()).width, lenient.check_photo(encoded.getvalue()).height) == (480, 640)
    drawn = opened(lenient.portrait_jpeg2000(encoded.getvalue()))
    corners = [drawn.crop((x, y, x + 1, y + 1)).tobytes()[0] for x, y in ((20, 20), (300, 20), (20, 380), (300, 380))]
    assert [value < 128 for value in corners] == [True, False, False, False]


def test_where_a_photo_was_taken_does_not_reach_the_decoder() -> None:
    exif = Image.Exif()
    exif[0x010E] = "35.6812N 139.7671E"
    encoded = io.BytesIO()
    opened(PHOTO).save(encoded, "JPEG", exif=exif, comment=b"at home")
    kept = read_photo_file(encoded.getvalue()).jpeg
    assert b"139.7671E" in encoded.getvalue()
    assert b"139.7671E" not in kept
    assert b"at home" not in kept


# ---- checks of photos


def findings(data: bytes, **limits: int) -> tuple[str, ...]:
    return PillowArtwork(PhotoLimits(**limits)).check_photo(data).findings


def test_an_ordinary_photo_is_accepted_with_its_size() -> None:
    report = artwork.check_photo(PHOTO)
    assert report.is_accepted
    assert (report.width, report.height) == (480, 600)


def test_grey_and_progressive_photos_are_accepted() -> None:
    assert findings(photo((480, 600), "L")) == ()
    assert findings(photo((480, 600), progressive=True)) == ()


def test_each_fault_has_its_code() -> None:
    assert findings(photo((480, 600)), max_bytes=30_000) == ("photo.file_too_large",)
    assert findings(photo((60, 75))) == ("photo.file_too_small",)
    assert findings(photo((60, 75)), min_bytes=1) == ("photo.too_few_pixels",)
    assert findings(photo((500, 700)), max_side=600) == ("photo.too_many_pixels",)
    assert findings(photo((600, 700)), max_pixels=400_000) == ("photo.too_many_pixels",)
    assert findings(photo((480, 600), "CMYK")) == ("photo.colours",)
    assert findings(photo((700, 480))) == ("photo.aspect",)
    assert findings(photo((480, 900))) == ("photo.aspect",)
    assert findings(b"GIF89a" + bytes(30_000)) == ("photo.not_jpeg",)


def test_one_flat_tone_is_no_portrait() -> None:
    encoded = io.BytesIO()
    Image.new("RGB", (600, 700), (200, 200, 200)).save(encoded, "JPEG")
    assert findings(encoded.getvalue(), min_bytes=1) == ("photo.blank",)


def test_a_file_cut_short_is_damaged() -> None:
    assert findings(PHOTO[: len(PHOTO) // 2]) == ("photo.damaged",)


def test_a_png_in_disguise_is_no_jpeg() -> None:
    encoded = io.BytesIO()
    opened(PHOTO).save(encoded, "PNG")
    assert findings(encoded.getvalue(), max_bytes=10**7) == ("photo.not_jpeg",)


def test_a_picture_far_larger_than_its_file_is_refused_undecoded() -> None:
    header = read_photo_file(PHOTO).jpeg
    frame = header.index(b"\xff\xc0")
    bomb = header[: frame + 5] + b"\xff\xff\xff\xff" + header[frame + 9 :]
    assert findings(bomb) == ("photo.too_many_pixels",)


def test_a_progressive_photo_of_many_scans_is_refused_undecoded() -> None:
    data = photo((480, 600), progressive=True)
    scan = data.rindex(b"\xff\xda")
    many = data[:-2] + data[scan:-2] * 100 + b"\xff\xd9"
    assert findings(many, max_bytes=len(many)) == ("photo.too_complex",)


def test_a_refused_photo_becomes_no_portrait() -> None:
    with pytest.raises(PhotoRefused) as caught:
        artwork.portrait_jpeg2000(photo((700, 480)))
    assert caught.value.findings == ("photo.aspect",)
    assert caught.value.code == "photo.refused"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 700), st.binary(min_size=1, max_size=8), st.booleans())
def test_no_bytes_make_the_check_raise(position: int, change: bytes, cut: bool) -> None:  # noqa: FBT001
    bent = PHOTO[:position] + change + PHOTO[position + (0 if cut else len(change)) :]
    report = artwork.check_photo(bent)
    assert all(finding.startswith("photo.") for finding in report.findings)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise_than_malformed(data: bytes) -> None:
    for candidate in (data, b"\xff\xd8" + data, b"\xff\xd8\xff\xe1\x00\x40Exif\0\0" + data):
        try:
            file = read_photo_file(candidate)
        except Malformed:
            continue
        assert file.jpeg.startswith(b"\xff\xd8")
