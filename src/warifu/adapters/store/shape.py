"""What a record looks like as a table, and which reads and changes of it are allowed.

Both stores ask here, so both refuse the same things with the same error before either touches its data. Everything
refused here is a mistake of ours, never of a request: ``Fault``.
"""

import functools
import operator
import re
import types
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final, Union, cast, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct

from warifu.kernel.errors import Fault
from warifu.ports.store import Find, Get, Join, Record

MAX_READS: Final = 128
"""Reads of one round trip: each card of a full box (100), and some."""
MAX_FIND: Final = 10_000
"""Records of one ``Find``."""

RESERVED: Final = frozenset(
    {"audit", "audit_seals", "journal", "migrations", "outbox", "probes", "requests", "sequences"},
)
"""Tables every schema has beside its records."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_INT64: Final = range(-(2**63), 2**63)
_SCALARS: Final = {str: "str", int: "int", bool: "bool", bytes: "bytes", date: "date"}
_KINDS: Final = {kind: python for python, kind in _SCALARS.items()} | {"strs": tuple}


_PLAIN: Final = frozenset({bool, bytes, date})
"""Types of which every value fits."""


class Column(Struct, frozen=True):
    """One field of a record."""

    name: str
    kind: str
    """``str``, ``int``, ``bool``, ``bytes``, ``date`` or ``strs`` (a tuple of str)."""
    nullable: bool
    default: Any = NODEFAULT


class Table(Struct, frozen=True):
    """A record's class, read once: columns and the sets of columns it may be found by."""

    record: type[Record]
    name: str
    names: tuple[str, ...]
    """The column names, in the order of the struct's fields."""
    columns: dict[str, Column]
    """By name, in the same order."""
    key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...]
    indexed: tuple[tuple[str, ...], ...]
    paths: dict[frozenset[str], tuple[str, ...]]
    """Every set of columns that ``Find`` may name: key prefixes (the empty one lists all), UNIQUE, INDEXED."""
    tuples: tuple[str, ...]
    """The columns that hold tuples."""
    checks: tuple[tuple[str, type[Any], Column], ...] = ()
    """Name and exact type of each column, for the quick look at a record."""

    def key_of(self, record: Record) -> tuple[Any, ...]:
        """The record's primary key."""
        return tuple([getattr(record, name) for name in self.key])

    def keys_of(self, records: Sequence[Record]) -> Iterable[tuple[Any, ...]]:
        """The primary key of each."""
        return zip(*(map(operator.attrgetter(name), records) for name in self.key), strict=True)

    def checks_of(self, only: tuple[str, ...]) -> tuple[tuple[str, type[Any], Column], ...]:
        """Of these columns, the key and the version; of all, when none is named."""
        wanted = {*only, *self.key, "version"} if only else {*self.names}
        return tuple(check for check in self.checks if check[0] in wanted)

    def path_of(self, find: Find) -> tuple[str, ...]:
        """The declared set that ``find.where`` names, in its declared order."""
        path = self.paths.get(frozenset(find.where))
        if path is None:
            raise Fault(f"{self.name}: no index on ({', '.join(sorted(find.where))})")
        return path


@functools.cache
def table_of(record: type[Record]) -> Table:
    """Read the class once; raises ``Fault`` for a declaration no store could keep."""
    columns = {field.name: _column(record.TABLE, field) for field in msgspec.structs.fields(record)}
    prefixes = tuple(record.KEY[:length] for length in range(len(record.KEY) + 1))
    table = Table(
        record=record,
        name=record.TABLE,
        names=tuple(columns),
        columns=columns,
        key=record.KEY,
        unique=record.UNIQUE,
        indexed=record.INDEXED,
        # where two declarations name one set, the first gives the order
        paths={frozenset(path): path for path in reversed((*prefixes, *record.UNIQUE, *record.INDEXED))},
        tuples=tuple(name for name, column in columns.items() if column.kind == "strs"),
        checks=tuple((name, _KINDS[column.kind], column) for name, column in columns.items()),
    )
    _check_declaration(table)
    return table


def tables_of(records: Iterable[type[Record]]) -> dict[str, Table]:
    """The tables of a schema by name."""
    tables: dict[str, Table] = {}
    for record in records:
        table = table_of(record)
        if tables.setdefault(table.name, table).record is not record:
            raise Fault(f"two records want the table {table.name}")
    return tables


def _column(table: str, field: msgspec.structs.FieldInfo) -> Column:
    """A column from a struct's field."""
    inner, nullable = _without_none(field.type)
    kind = "strs" if inner == tuple[str, ...] else _SCALARS.get(inner)
    if kind is None:
        raise Fault(f"{table}.{field.name}: no column type for {inner}")
    return Column(field.name, kind, nullable, field.default)


def _without_none(declared: Any) -> tuple[Any, bool]:  # noqa: ANN401 - a type expression has no better type
    """A field's type without ``| None`` and without the names that NewType and Annotated give it."""
    if get_origin(declared) not in (Union, types.UnionType):
        return _plain(declared), False
    inner = [part for part in get_args(declared) if part is not types.NoneType]
    return (_plain(inner[0]), True) if len(inner) == 1 else (declared, False)


def _plain(declared: Any) -> Any:  # noqa: ANN401 - likewise
    while hasattr(declared, "__supertype__") or hasattr(declared, "__metadata__"):
        declared = getattr(declared, "__supertype__", None) or declared.__origin__
    return declared


def check_name(name: str) -> None:
    """A schema's, table's or column's name: it is written into SQL."""
    if not _NAME.fullmatch(name):
        raise Fault(f"{name!r} is no name of a schema, table or column")


def _check_declaration(table: Table) -> None:
    """Names must be plain, keys must be there, sets must name columns."""
    for name in (table.name, *table.names):
        check_name(name)
    if table.name in RESERVED:
        raise Fault(f"{table.name} is a table of the store itself")
    if not table.key:
        raise Fault(f"{table.name}: no key")
    for path in (table.key, *table.unique, *table.indexed):
        if not path or len(set(path)) != len(path) or not set(path) <= set(table.names):
            raise Fault(f"{table.name}: ({', '.join(path)}) is no set of columns")
    for name in table.key:
        if table.columns[name].nullable or table.columns[name].kind == "strs":
            raise Fault(f"{table.name}.{name}: a key column is neither nullable nor a tuple")


def check_value(table: Table, column: Column, value: object) -> None:
    """The value must be of the column's exact type: a subclass would come back as something else."""
    kind = column.kind
    if value is None and column.nullable:
        return
    if type(value) is not _KINDS[kind]:
        raise Fault(f"{table.name}.{column.name}: {type(value).__name__} is not {kind}")
    if kind == "str":
        _check_text(table.name, column.name, cast("str", value))
    elif kind == "int" and value not in _INT64:
        raise Fault(f"{table.name}.{column.name}: more than 64 bits")
    elif kind == "strs":
        for text in cast("tuple[object, ...]", value):
            if type(text) is not str:
                raise Fault(f"{table.name}.{column.name}: {type(text).__name__} is not str")
            _check_text(table.name, column.name, text)


def _check_text(owner: str, name: str, text: str) -> None:
    """PostgreSQL's text has no NUL and no lone surrogate."""
    if "\0" in text or not (text.isascii() or _encodes(text)):
        raise Fault(f"{owner}.{name}: not storable as text")


def _encodes(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


@functools.cache
def _text_fields(kind: type[Struct]) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(kind) if field.type is str)


def check_texts(value: Struct) -> None:
    """Every plain text field of a journal entry, message or the like must be storable."""
    kind = type(value)
    for name in _text_fields(kind):
        text = getattr(value, name)
        if type(text) is not str:
            raise Fault(f"{kind.__name__}.{name}: {type(text).__name__} is not str")
        _check_text(kind.__name__, name, text)


def check_only(table: Table, only: tuple[str, ...]) -> None:
    """The columns of a partial update: columns of this table, each once, none of the key's and not the version."""
    fixed = {*table.key, "version"}
    if len(set(only)) != len(only) or not set(only) <= set(table.names) - fixed:
        raise Fault(f"{table.name}: ({', '.join(only)}) cannot be changed alone")


def check_records(table: Table, records: Sequence[Record], only: tuple[str, ...] = ()) -> None:
    """Every value must fit its column; ``only``: of these columns and the key.

    Looked at column by column: bulk writes hundreds of records at once, of which nearly every value fits.
    """
    for name, wanted, column in table.checks_of(only):
        values = [*map(operator.attrgetter(name), records)]
        if {*map(type, values)} == {wanted} and _all_fit(wanted, values):
            continue
        for value in values:
            check_value(table, column, value)


def _all_fit(wanted: type[Any], values: list[Any]) -> bool:
    """At a glance: all values of this type fit. False means only that each must be looked at."""
    if wanted is str:
        text = "".join(values)
        return text.isascii() and "\0" not in text
    if wanted is int:
        return min(values) in _INT64 and max(values) in _INT64
    return wanted in _PLAIN


def check_key(table: Table, key: tuple[Any, ...]) -> None:
    """A whole primary key."""
    if len(key) != len(table.key):
        raise Fault(f"{table.name}: the key has {len(table.key)} columns, {len(key)} given")
    for name, value in zip(table.key, key, strict=True):
        check_value(table, table.columns[name], value)


def check_reads(tables: dict[str, Table], reads: tuple[Get | Find, ...]) -> tuple[Table, ...]:
    """The table of each read; raises ``Fault`` for a read that no index serves or that has no fitting limit."""
    if len(reads) > MAX_READS:
        raise Fault(f"{len(reads)} reads at once, at most {MAX_READS}")
    return tuple(_check_read(own_table(tables, read.table), read) for read in reads)


def check_join(tables: dict[str, Table], join: Join) -> Table:
    """The table of a join; raises ``Fault`` for one that no index serves or whose column holds no bytes."""
    table = own_table(tables, join.table)
    wanted = (*join.where, *([join.pieces] if join.pieces else []))
    served = [path for path in (table.key, *table.indexed) if set(path[: len(join.where)]) == set(join.where)]
    if not any(set(path[: len(wanted)]) == set(wanted) for path in served):
        raise Fault(f"{table.name}: no index on ({', '.join(wanted)})")
    column = table.columns.get(join.column)
    if column is None or (column.kind, column.nullable) != ("bytes", False):
        raise Fault(f"{table.name}.{join.column} cannot be joined")
    for name, value in (*join.where.items(), *([join.at_least] if join.at_least else [])):
        if name not in table.columns:
            raise Fault(f"{table.name}.{name}: no such column")
        check_value(table, table.columns[name], value)
    return table


def own_table(tables: dict[str, Table], record: type[Record]) -> Table:
    """The table of a record of this schema; ``Fault`` when the record belongs to another node."""
    table = tables.get(record.TABLE)
    if table is None or table.record is not record:
        raise Fault(f"{record.TABLE} is not a table of this store")
    return table


def _check_read(table: Table, read: Get | Find) -> Table:
    if isinstance(read, Get):
        check_key(table, read.key)
        return table
    for name in table.path_of(read):
        check_value(table, table.columns[name], read.where[name])
    if not 1 <= read.limit <= MAX_FIND:
        raise Fault(f"{table.name}: a limit of 1 to {MAX_FIND}, not {read.limit}")
    if read.after is not None:
        check_key(table, read.after)
    return table
