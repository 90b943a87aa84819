"""Writes an example of every message that has none yet: ``python tests/contract/make_contract_golden.py``.

What is there is never written again: these are yesterday's bytes, which every later version must still read. Each file
is named by its struct; every field is filled, optional ones too.
"""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect

from warifu.contract.schema import types

GOLDEN: Final = Path(__file__).parent / "golden"
TEXTS: Final = {
    r"^[0-9A-HJKMNP-TV-Z]{26}$": "01KN3FQJZ44G9WM4NKF40TFVNT",
    r"^[0-9]{11}$": "12345678903",
    r"^[0-9]{12}$": "123456789018",
    r"^[0-9]{23}$": "12345678901234567890123",
    r"^[0-9A-Z]{15}$": "WRF000000000001",
    r"^[0-9]{6}$": "131016",
    r"^([0-9]{6})?$": "131016",
    r"^([0-9A-Z]{15})?$": "WRF000000000001",
    r"^([0-9A-HJKMNP-TV-Z]{26})?$": "01KN3FQJZ44G9WM4NKF40TFVNT",
    r"^[a-z_.]{1,60}$": "operation.delivery",
    r"^[a-z_]{1,30}$": "open_windows",
    r"^([0-9]{11})?$": "12345678903",
    r"^([0-9]{12})?$": "123456789018",
    r"^([0-9]{23})?$": "12345678901234567890123",
    r"^[0-9]{4}$": "0420",
    r"^[0-9A-Za-z]{4,16}$": "ABC123",
    r"^[a-z0-9._:-]{1,96}$": "perform:0a1b.open",
    r"^[a-z_]+\.[a-z_]+$": "center.open",
    r"^[a-z0-9-]{1,40}$": "terminal-131016",
    r"^[a-z0-9-]{0,40}$": "town-bank",
    r"^[a-z0-9@._-]{1,60}$": "clerk@terminal-131016",
}
DAY: Final = datetime.date(2026, 4, 1)


def example(kind: type[msgspec.Struct]) -> msgspec.Struct:
    """A valid value with every field filled; the same every time."""
    filled = _value(inspect.type_info(kind))
    assert isinstance(filled, kind)
    return filled


def _value(kind: inspect.Type) -> Any:
    return _MAKERS[type(kind)](kind)


_MAKERS: Final[dict[type[inspect.Type], Callable[[Any], Any]]] = {
    inspect.StructType: lambda kind: kind.cls(**{field.name: _value(field.type) for field in kind.fields}),
    inspect.StrType: lambda kind: TEXTS[kind.pattern] if kind.pattern else "割符　花子"[: kind.max_length],
    inspect.BytesType: lambda kind: bytes(range(kind.min_length or 3)),
    inspect.IntType: lambda kind: 7 if kind.le is None else min(7, kind.le),
    inspect.BoolType: lambda _: True,
    inspect.DateType: lambda _: DAY,
    inspect.LiteralType: lambda kind: kind.values[0],
    inspect.UnionType: lambda kind: _value(next(one for one in kind.types if not isinstance(one, inspect.NoneType))),
    inspect.VarTupleType: lambda kind: (_value(kind.item_type),),
    inspect.DictType: lambda kind: {_value(kind.key_type): _value(kind.value_type)},
}


def main() -> None:
    """Write what is missing."""
    GOLDEN.mkdir(exist_ok=True)
    for kind in types():
        bytes_file, text_file = GOLDEN / f"{kind.__name__}.msgpack", GOLDEN / f"{kind.__name__}.json"
        if not bytes_file.exists():
            bytes_file.write_bytes(msgspec.msgpack.encode(example(kind)))
            text_file.write_bytes(msgspec.json.format(msgspec.json.encode(example(kind)), indent=2) + b"\n")


if __name__ == "__main__":
    main()
