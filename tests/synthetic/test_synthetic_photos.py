"""Drawn portraits: photos that an application may carry, the same for the same seed."""

import io
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from warifu.adapters.artwork import PillowArtwork
from warifu.synthetic.__main__ import main
from warifu.synthetic.photos import portrait


@pytest.mark.parametrize(
    ("age", "sex"), [(3, "female"), (10, "male"), (35, "female"), (40, "male"), (80, "female"), (90, "male")]
)
def test_a_portrait_passes_the_photo_check(age: int, sex: str) -> None:
    for seed in range(4):
        data = portrait(seed, age, sex)
        report = PillowArtwork().check_photo(data)
        assert (report.findings, report.width, report.height) == ((), 480, 600)
        assert 20_000 < len(data) < 120_000


def test_the_same_seed_draws_the_same_face_and_another_another() -> None:
    faces = [portrait(seed) for seed in (1, 2, 3, 1)]
    assert faces[0] == faces[3]
    assert all(one != other for one, other in combinations(faces[:3], 2))


def test_a_portrait_is_a_head_on_a_plain_ground() -> None:
    image = Image.open(io.BytesIO(portrait(5))).convert("L")
    corners = [image.crop((x, y, x + 40, y + 40)) for x, y in ((5, 5), (435, 5), (5, 200))]
    assert all(min(corner.tobytes()) > 190 for corner in corners)
    assert min(image.crop((160, 120, 320, 420)).tobytes()) < 90


def test_it_says_that_it_is_nobody() -> None:
    assert b"nobody's face" in portrait(1)


def test_the_command_writes_photos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["2", "1", str(tmp_path / "photos")]) == 0
    assert sorted(file.name for file in (tmp_path / "photos").iterdir()) == ["0000.jpg", "0001.jpg"]
    assert "individual number" in capsys.readouterr().out
