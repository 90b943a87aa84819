"""Who may ask what: the table has every message, only known kinds, and nobody by accident."""

import pytest

from warifu.contract.callers import CALLERS, may_ask
from warifu.contract.codec import REQUESTS

KINDS = {name.split(".")[0] for name in REQUESTS} - {"node"}
OUTSIDE = {"driver", "portal", "supervisor"}


def test_the_table_covers_exactly_the_contract() -> None:
    assert set(CALLERS) == set(REQUESTS)


def test_only_known_kinds_ask() -> None:
    assert set().union(*CALLERS.values()) <= KINDS | OUTSIDE | {"cs"}


def test_every_message_has_somebody_who_asks() -> None:
    assert all(CALLERS.values())


@pytest.mark.parametrize(
    ("sender", "name", "allowed"),
    [
        ("relay-2", "center.open", True),
        ("relay", "center.open", True),
        ("relayed-1", "center.open", False),
        ("cs-131016", "center.open", False),
        ("terminal-131016", "center.open", False),
        ("driver", "numbering.reveal", False),
        ("center", "numbering.reveal", True),
        ("center", "no.such_message", False),
        ("", "center.open", False),
    ],
)
def test_the_kind_is_the_name_up_to_its_first_dash(sender: str, name: str, allowed: bool) -> None:  # noqa: FBT001
    assert may_ask(sender, name) == allowed


def test_personal_data_is_given_to_few() -> None:
    assert CALLERS["numbering.reveal"] == {"center"}
    assert CALLERS["registry.identity"] == {"center", "intake"}
    assert CALLERS["center.card_data"] == {"issuance"}
