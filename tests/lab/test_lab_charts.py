"""Charts: well-formed, nothing outside the picture, nothing that runs."""

import re
from xml.etree import ElementTree as Xml

from warifu.lab.charts import HEIGHT, WIDTH, Mark, line_chart
from warifu.lab.load.page import Section, page

LINES = {"offered <1>": [(0.0, 1.0), (10.0, 300.0)], "completed": [(0.0, 0.0), (10.0, 120.0)]}


def chart() -> str:
    return line_chart(
        "Operations & more", LINES, "seconds", "per second", marks=[Mark(5.0, "relay killed")], limit=250.0
    )


def test_a_chart_is_well_formed_and_names_its_lines() -> None:
    figure = Xml.fromstring(chart())  # noqa: S314 - our own
    assert len(figure.findall(".//polyline")) == len(LINES)
    assert "offered <1>" in "".join(figure.itertext())


def test_every_point_lies_inside_the_picture() -> None:
    for points in re.findall(r'points="([^"]*)"', chart()):
        for pair in points.split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


def test_lines_differ_in_more_than_colour_once_colours_run_out() -> None:
    many = {str(n): [(0.0, n), (1.0, n)] for n in range(12)}
    strokes = re.findall(r'<polyline points="[^"]*" ([^/]*)/>', line_chart("t", many, "x", "y"))
    assert len(set(strokes)) == len(many)


def test_without_data_it_says_so() -> None:
    assert "no data" in line_chart("t", {}, "x", "y")


def test_a_page_stands_alone_and_says_its_verdict_in_both_languages() -> None:
    made = page(
        "Load test", "負荷試験", passed=False, reasons=["NO: <b>"], sections=[Section("A", "甲", charts=(chart(),))]
    )
    assert "not passed 不合格" in made
    assert "&lt;b&gt;" in made
    assert not re.search(r"<script|src=|href=|@import|url\(", made)
