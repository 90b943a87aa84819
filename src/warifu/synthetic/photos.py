"""Portraits of nobody: drawn faces, varied by a seed, as JPEG photos that an application may carry.

Drawn in units of about a pixel on a sheet of twice the size, which is then scaled down, so that edges are smooth. A
little grain makes the file as large as a camera's would be.
"""

import io
import random
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw, ImageFilter

SIZE = (480, 600)
_SCALE = 2
_ZOOM = 1.2
_JPEG_COMMENT = b"Warifu synthetic portrait: nobody's face"

Colour = tuple[int, int, int]
Point = tuple[float, float]
Oval = tuple[float, float, float, float]
"""Centre and radii."""
Hair = Literal["short", "parted", "bald", "bob", "long", "bun"]

_SKINS: tuple[Colour, ...] = ((250, 224, 200), (244, 212, 184), (233, 196, 164), (214, 172, 138), (168, 122, 92))
_HAIRS: tuple[Colour, ...] = ((28, 24, 26), (40, 32, 30), (58, 42, 34), (84, 58, 40))
_GREYS: tuple[Colour, ...] = ((120, 120, 124), (166, 166, 168), (214, 212, 208))
_CLOTHES: tuple[Colour, ...] = ((44, 58, 84), (70, 70, 76), (92, 46, 56), (52, 88, 78), (176, 164, 144), (60, 84, 130))
_BACKGROUNDS: tuple[Colour, ...] = ((226, 236, 244), (236, 236, 234), (220, 232, 226), (240, 234, 226))
_CHILD_UNTIL, _ELDER_FROM, _GREY_FROM = 13, 65, 55


@dataclass(frozen=True, slots=True)
class Face:
    """What the seed decided. Lengths are in units of the sheet."""

    width: float
    height: float
    middle: float
    skin: Colour
    hair_colour: Colour
    hair: Hair
    clothes: Colour
    background: Colour
    eye_gap: float
    eye_size: float
    brow_tilt: float
    mouth_width: float
    smile: float
    glasses: bool
    wrinkles: bool
    collar: bool


def portrait(seed: int, age: int = 35, sex: str = "female") -> bytes:
    """A drawn portrait: RGB JPEG, 480 by 600 pixels, some 40 to 60 kB. The same arguments give the same picture.

    Args:
        seed: any integer.
        age: in years; children have rounder faces, elders grey hair and lines.
        sex: ``female`` or anything else; decides the choice of hair and clothes.
    """
    # Not for secrets: the same seed must draw the same face.
    dice = random.Random(f"warifu portrait {seed} {age} {sex}")  # noqa: S311
    face = _face(dice, age, sex)
    sketch = _Sketch(face)
    sketch.hair_behind()
    sketch.body()
    sketch.head()
    sketch.features()
    sketch.hair_in_front()
    if face.glasses:
        sketch.glasses()
    encoded = io.BytesIO()
    _with_grain(sketch.finished(), dice).save(encoded, "JPEG", quality=93, subsampling=0, comment=_JPEG_COMMENT)
    return encoded.getvalue()


def _face(dice: random.Random, age: int, sex: str) -> Face:
    child, female = age < _CHILD_UNTIL, sex == "female"
    styles: tuple[Hair, ...] = ("bob", "long", "bun") if female else ("short", "parted", "short")
    if not female and age >= _ELDER_FROM:
        styles = ("short", "parted", "bald")
    width = dice.uniform(172, 196) * (0.97 if female else 1.03)
    return Face(
        width=width,
        height=width * (dice.uniform(1.12, 1.18) if child else dice.uniform(1.24, 1.36)),
        middle=310 if child else 300,
        skin=dice.choices(_SKINS, (3, 4, 3, 2, 1))[0],
        hair_colour=dice.choice(_GREYS if age >= _GREY_FROM + dice.randint(0, 15) else _HAIRS),
        hair=dice.choice(styles),
        clothes=dice.choice(_CLOTHES),
        background=dice.choice(_BACKGROUNDS),
        eye_gap=width * dice.uniform(0.225, 0.25),
        eye_size=dice.uniform(12, 15) * (1.2 if child else 1),
        brow_tilt=dice.uniform(-4, 4),
        mouth_width=width * dice.uniform(0.15, 0.19),
        smile=dice.uniform(2, 8),
        glasses=dice.random() < (0.1 if child else 0.35),
        wrinkles=age >= _ELDER_FROM,
        collar=not child and dice.random() < 0.6,  # noqa: PLR2004 - three in five wear one
    )


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (max(0, min(255, round(part * factor))) for part in colour)
    return red, green, blue


def _with_grain(image: Image.Image, dice: random.Random) -> Image.Image:
    noise = Image.frombytes("L", SIZE, dice.randbytes(SIZE[0] * SIZE[1])).filter(ImageFilter.GaussianBlur(0.6))
    grain = Image.merge("RGB", (noise, noise, noise))
    return Image.blend(image, grain, 0.045)


class _Sketch:
    """The drawing in progress; each step adds a layer above the ones before."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._image = Image.new("RGB", (SIZE[0] * _SCALE, SIZE[1] * _SCALE), face.background)
        self._draw = ImageDraw.Draw(self._image)
        self._x, self._y = SIZE[0] / 2, face.middle
        self._left, self._right = self._x - face.width / 2, self._x + face.width / 2
        self._top, self._chin = self._y - face.height / 2, self._y + face.height / 2

    def finished(self) -> Image.Image:
        """The picture at its final size."""
        return self._image.resize(SIZE, Image.Resampling.LANCZOS)

    def _oval(self, oval: Oval, fill: Colour) -> None:
        self._draw.ellipse(_box(oval), fill=fill)

    def _shape(self, points: list[Point], fill: Colour) -> None:
        self._draw.polygon([_pixel(point) for point in points], fill=fill)

    def _arc(self, oval: Oval, span: tuple[float, float], fill: Colour, wide: float) -> None:
        self._draw.arc(_box(oval), *span, fill=fill, width=_length(wide))

    def _rounded(self, corners: tuple[Point, Point], radius: float, fill: Colour) -> None:
        box = [_pixel(corner) for corner in corners]
        self._draw.rounded_rectangle(box, _length(radius), fill=fill)

    def _line(self, points: list[Point], fill: Colour, wide: float) -> None:
        self._draw.line([_pixel(point) for point in points], fill=fill, width=_length(wide), joint="curve")

    def hair_behind(self) -> None:
        """What shows of long hair beside and behind the neck."""
        face, wide = self._face, self._face.width / 2 + 16
        left, right, top = self._x - wide, self._x + wide, self._top - 14
        if face.hair == "long":
            self._rounded(((left, top), (right, self._chin + 96)), wide * 0.96, face.hair_colour)
            self._rounded(((left, self._y), (right, self._chin + 96)), 40, face.hair_colour)
        elif face.hair == "bob":
            self._rounded(((left, top), (right, self._chin + 12)), wide * 0.96, face.hair_colour)
            self._rounded(((left, self._y), (right, self._chin + 12)), 46, face.hair_colour)
        elif face.hair == "bun":
            self._oval((self._x, self._top - 22, 40, 32), _shade(face.hair_colour, 0.92))
            self._oval((self._x, self._y - 24, wide - 8, face.height * 0.47), face.hair_colour)

    def body(self) -> None:
        """Shoulders, clothes and neck."""
        face, x = self._face, self._x
        shoulder, neck = self._chin + 42, face.width * 0.23
        wide = face.width * 0.98
        self._rounded(((x - wide, shoulder), (x + wide, shoulder + 400)), 86, face.clothes)
        self._rounded(((x - neck, self._chin - 60), (x + neck, shoulder + 24)), 24, _shade(face.skin, 0.88))
        self._shape([(x - neck, shoulder + 6), (x + neck, shoulder + 6), (x, shoulder + 66)], _shade(face.skin, 0.93))
        if face.collar:
            self._collar(neck, shoulder)
        neckline = [(x - neck - 3, shoulder + 3), (x, shoulder + 70), (x + neck + 3, shoulder + 3)]
        self._line(neckline, _shade(face.clothes, 0.8), 3)

    def _collar(self, neck: float, shoulder: float) -> None:
        for side in (-1, 1):
            edge = [(self._x + side * neck, shoulder - 8), (self._x + side * (neck + 24), shoulder + 18)]
            self._shape([*edge, (self._x + side * 18, shoulder + 90), (self._x, shoulder + 64)], (246, 246, 244))

    def head(self) -> None:
        """Ears and the face's outline."""
        face = self._face
        for side in (-1, 1):
            self._oval((self._x + side * (face.width / 2 + 2), self._y + 8, 14, 24), _shade(face.skin, 0.92))
        self._oval((self._x, self._y - face.height * 0.08, face.width / 2, face.height * 0.42), face.skin)
        self._oval((self._x, self._y + face.height * 0.1, face.width * 0.455, face.height * 0.4), face.skin)

    def features(self) -> None:
        """Eyes, brows, nose, mouth, lines."""
        for side in (-1, 1):
            self._eye(side)
        face = self._face
        dark, mouth = _shade(face.skin, 0.78), self._y + face.height * 0.275
        self._arc((self._x, self._y + face.height * 0.13, 13, 8), (20, 160), dark, 3)
        self._arc((self._x, mouth - face.smile, face.mouth_width, face.smile + 5), (15, 165), (168, 82, 80), 5)
        self._arc((self._x, mouth + 13, face.mouth_width * 0.5, 4), (25, 155), _shade(face.skin, 0.88), 2.5)
        if face.wrinkles:
            self._lines_of_age(_shade(dark, 1.14))

    def _eye(self, side: int) -> None:
        face, x, y = self._face, self._x + side * self._face.eye_gap, self._y + 2
        size = face.eye_size
        self._oval((x + side * 8, y + 44, 20, 12), _shade(face.skin, 0.975))
        self._oval((x, y, size * 1.35, size * 0.8), (252, 250, 248))
        self._oval((x, y, size * 0.72, size * 0.78), (52, 36, 30))
        self._oval((x + 3, y - 3, size * 0.2, size * 0.2), (250, 250, 250))
        self._arc((x, y, size * 1.4, size * 0.9), (190, 350), (40, 30, 30), 3.5)
        brow, tilt = y - 33, face.brow_tilt * side
        bend: list[Point] = [(x - 25, brow + 4 + tilt), (x - 2, brow - 3), (x + 25, brow + 4 - tilt)]
        self._line(bend, _shade(face.hair_colour, 1.1), 6)

    def _lines_of_age(self, faint: Colour) -> None:
        for side in (-1, 1):
            beside_nose = (300, 350) if side > 0 else (190, 240)
            self._arc((self._x + side * 20, self._y + 48, 34, 34), beside_nose, faint, 2)
            self._arc((self._x + side * self._face.eye_gap, self._y + 16, 20, 9), (40, 140), faint, 2)
        for above in (28, 40):
            self._arc((self._x, self._y - above, 60, 36), (250, 290), faint, 2)

    def hair_in_front(self) -> None:
        """Fringe and crown, inside the outline of the skull."""
        face, colour = self._face, self._face.hair_colour
        if face.hair == "bald":
            for side in (-1, 1):
                self._oval((self._x + side * (face.width / 2 - 2), self._y - 26, 11, 32), colour)
            return
        rx, ry, crown = face.width / 2 + 8, face.height * 0.44 + 8, self._y - face.height * 0.08
        mask = Image.new("L", self._image.size, 0)
        ink = ImageDraw.Draw(mask)
        ink.ellipse(_box((self._x, crown, rx, ry)), fill=255)
        ink.ellipse(_box(self._opening()), fill=0)
        ink.rectangle((0, _pixel((0, self._y + 14))[1], *mask.size), fill=0)
        self._image.paste(colour, mask=mask)
        self._arc((self._x - 18, crown - ry * 0.35, rx * 0.62, ry * 0.42), (215, 285), _shade(colour, 1.35), 5)

    def _opening(self) -> Oval:
        """The oval of forehead and cheeks that the hair leaves free."""
        face = self._face
        match face.hair:
            case "parted":
                return self._x + face.width * 0.1, self._y + face.height * 0.14, face.width * 0.5, face.height * 0.5
            case "short":
                return self._x, self._y + face.height * 0.14, face.width * 0.485, face.height * 0.48
            case "bun":
                return self._x, self._y + face.height * 0.12, face.width * 0.49, face.height * 0.52
            case _:
                return self._x, self._y + face.height * 0.17, face.width * 0.475, face.height * 0.47

    def glasses(self) -> None:
        """Thin frames that leave the eyes free."""
        face, frame, y = self._face, (58, 54, 58), self._y + 4
        wide = face.eye_gap * 0.78
        for side in (-1, 1):
            x = self._x + side * face.eye_gap
            box = [_pixel((x - wide, y - 24)), _pixel((x + wide, y + 26))]
            self._draw.rounded_rectangle(box, _length(20), outline=frame, width=_length(3))
            self._line([(x + side * wide, y - 8), (self._x + side * face.width / 2, y - 4)], frame, 3)
        self._arc((self._x, y - 2, face.eye_gap - wide + 2, 8), (200, 340), frame, 3)


def _length(units: float) -> int:
    return round(units * _ZOOM * _SCALE)


def _pixel(point: Point) -> Point:
    """Units to pixels of the large picture, the middle of the sheet staying where it is."""
    x, y = ((part - size / 2) * _ZOOM + size / 2 for part, size in zip(point, SIZE, strict=True))
    return x * _SCALE, y * _SCALE


def _box(oval: Oval) -> list[Point]:
    x, y, rx, ry = oval
    return [_pixel((x - rx, y - ry)), _pixel((x + rx, y + ry))]
