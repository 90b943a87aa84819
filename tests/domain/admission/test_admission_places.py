"""A node's certified name says where it stands."""

import pytest

from warifu.domain.admission.places import place_of


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("cs-131016", "131016"),
        ("terminal-131016", "131016"),
        ("terminal-131016-12", "131016"),
        ("relay-1", ""),
        ("driver", ""),
        ("cs", ""),
        ("center-131016", ""),
        ("csx-131016", ""),
    ],
)
def test_only_what_stands_in_a_municipality_has_a_place(name: str, place: str) -> None:
    assert place_of(name) == place
