"""The contract grows by addition only: yesterday's bytes are read today, and nothing of them is lost or changed."""

from typing import Any

import msgspec
import pytest
from make_contract_golden import GOLDEN, example

from warifu.contract.codec import REQUESTS, decode, decode_request, encode
from warifu.contract.schema import types
from warifu.kernel.errors import Malformed

TYPES = {kind.__name__: kind for kind in types()}


def yesterday(name: str) -> bytes:
    return (GOLDEN / f"{name}.msgpack").read_bytes()


def holds(today: Any, before: Any) -> bool:
    """Whether everything of ``before`` stands unchanged in ``today``; maps may have gained keys."""
    if isinstance(before, dict):
        return isinstance(today, dict) and all(key in today and holds(today[key], before[key]) for key in before)
    if isinstance(before, list | tuple):
        return isinstance(today, list | tuple) and len(today) == len(before) and all(map(holds, today, before))
    return type(today) is type(before) and bool(today == before)


def test_every_message_has_its_example_and_every_example_its_message() -> None:
    """A new message: run ``make_contract_golden.py``. A removed one: put it back."""
    for ending in ("msgpack", "json"):
        assert {path.stem for path in GOLDEN.glob(f"*.{ending}")} == set(TYPES)


@pytest.mark.parametrize("name", sorted(TYPES))
def test_yesterdays_bytes_are_read_and_written_back(name: str) -> None:
    before = yesterday(name)
    today = encode(decode(TYPES[name], before))
    assert holds(msgspec.msgpack.decode(today), msgspec.msgpack.decode(before))
    assert encode(decode(TYPES[name], today)) == today
    same_fields = len(msgspec.msgpack.decode(today)) == len(msgspec.msgpack.decode(before))
    if name not in NESTED_GREW and same_fields:
        assert today == before


NESTED_GREW = frozenset({"Holders"})
"""Messages whose inner structs gained fields since their example was written."""


@pytest.mark.parametrize("name", sorted(TYPES))
def test_the_json_example_is_the_same_value(name: str) -> None:
    text = (GOLDEN / f"{name}.json").read_bytes()
    assert msgspec.json.decode(text, type=TYPES[name]) == decode(TYPES[name], yesterday(name))


@pytest.mark.parametrize("name", sorted(TYPES.keys() - NESTED_GREW))
def test_an_example_fills_every_field_that_was_there(name: str) -> None:
    fields = set(msgspec.msgpack.decode(yesterday(name)))
    assert fields <= set(TYPES[name].__struct_encode_fields__)
    read = msgspec.to_builtins(decode(TYPES[name], yesterday(name)))
    assert holds(msgspec.to_builtins(example(TYPES[name])), {field: read[field] for field in read if field in fields})


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_what_tomorrows_version_adds_is_passed_over_and_what_is_missing_is_malformed(name: str) -> None:
    kind = REQUESTS[name]
    content = msgspec.msgpack.decode(yesterday(kind.__name__))
    added = msgspec.msgpack.encode(content | {"a_field_of_tomorrow": 1})
    assert decode_request(name, added) == decode(kind, yesterday(kind.__name__))
    for field in msgspec.structs.fields(kind):
        if field.required:
            with pytest.raises(Malformed):
                decode_request(name, msgspec.msgpack.encode({k: v for k, v in content.items() if k != field.name}))


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_what_a_request_shows_of_itself_is_its_name(name: str) -> None:
    assert repr(example(REQUESTS[name])) == f"{name}(<hidden>)"
