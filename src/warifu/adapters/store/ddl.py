"""From records to SQL, and what must be added when records have grown.

The SQL is written in one fixed form, so that the files already frozen can be read back and compared by statement.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

from msgspec import NODEFAULT, Struct

from warifu.adapters.store.shape import Column, Table, table_of
from warifu.kernel.errors import Fault
from warifu.ports.store import Record

COLLATION: Final = ' COLLATE "C"'
"""Order by code point, as Python compares, and no dependence on the machine's locale."""

SQL_TYPES: Final = {
    "str": f"text{COLLATION}",
    "int": "bigint",
    "bool": "bool",
    "bytes": "bytea",
    "date": "date",
    "strs": "text[]",
}
"""PostgreSQL's type for each kind of column."""

_CREATE_TABLE: Final = re.compile(r'CREATE TABLE "(\w+)" \(\n(.*)\n\)', re.DOTALL)
_ADD_COLUMN: Final = re.compile(r'ALTER TABLE "(\w+)" ADD COLUMN (.+)', re.DOTALL)


class NotAdditive(Fault):
    """The records ask for a change that would break data or programs of before."""

    code = "store.not_additive"


class _Parts(Struct, frozen=True):
    """A schema taken apart: column definitions by table, and the statements that stand for themselves."""

    columns: dict[str, list[str]]
    others: list[str]


def create_statements(record: type[Record]) -> list[str]:
    """CREATE TABLE, then its UNIQUE constraints, then its indexes; names are not qualified by a schema."""
    table = table_of(record)
    lines = [_definition(column) for column in table.columns.values()] + [f"PRIMARY KEY ({_names(table.key)})"]
    return [
        'CREATE TABLE "{}" (\n{}\n)'.format(table.name, ",\n".join(f"  {line}" for line in lines)),
        # deferrable: looked at when the statement ends, so that one change may hand a value from row to row
        *(_unique(table, path) for path in table.unique),
        *(_index(table, path) for path in table.indexed),
        *([f'ALTER TABLE "{table.name}" SET (fillfactor = {record.FILL})'] if record.FILL else []),
    ]


def added_statements(frozen: Iterable[str], records: Sequence[type[Record]]) -> list[str]:
    """What must be executed after ``frozen`` (statements in our own form) to have the tables of ``records``.

    Raises:
        NotAdditive: a table, column or constraint is gone or another, or a new column has no value for old rows.
    """
    old = _parts(frozen)
    wanted = [statement for record in records for statement in create_statements(record)]
    new = _parts(wanted)
    _check_kept(old, new)
    added = []
    for record in records:
        table = table_of(record)
        if table.name in old.columns:
            added.extend(_added_columns(table, old.columns[table.name]))
    known = set(old.others)
    return added + [statement for statement in wanted if statement not in known and not _is_known(statement, old)]


def _is_known(statement: str, old: _Parts) -> bool:
    match = _CREATE_TABLE.fullmatch(statement)
    return match is not None and match[1] in old.columns


def _check_kept(old: _Parts, new: _Parts) -> None:
    for table, columns in old.columns.items():
        for column in columns:
            if column not in new.columns.get(table, []):
                raise NotAdditive(f"{table}: {column} is gone")
    for statement in old.others:
        if statement not in new.others:
            raise NotAdditive(f"gone: {statement}")


def _added_columns(table: Table, known: list[str]) -> list[str]:
    added = [column for column in table.columns.values() if _definition(column) not in known]
    return [f'ALTER TABLE "{table.name}" ADD COLUMN {_definition(column)}{_default(table, column)}' for column in added]


def _default(table: Table, column: Column) -> str:
    """What rows of before hold in a new column; programs of before leave it out when they insert."""
    if column.nullable and column.default in (None, NODEFAULT):
        return ""
    if column.default is NODEFAULT:
        raise NotAdditive(f"{table.name}.{column.name}: a new column is nullable or has a default")
    return f" DEFAULT {_literal(column.default)}"


def _literal(value: Any) -> str:  # noqa: ANN401 - any value a column may have
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    if isinstance(value, date):
        return f"'{value.isoformat()}'"
    if isinstance(value, tuple):
        return "ARRAY[{}]::text[]".format(", ".join(_literal(part) for part in value))
    return "'{}'".format(str(value).replace("'", "''"))


def _parts(statements: Iterable[str]) -> _Parts:
    columns: dict[str, list[str]] = {}
    others: list[str] = []
    for statement in statements:
        if match := _CREATE_TABLE.fullmatch(statement):
            columns[match[1]] = [line.strip() for line in match[2].split(",\n")]
        elif match := _ADD_COLUMN.fullmatch(statement):
            columns[match[1]].append(match[2].split(" DEFAULT ")[0])
        else:
            others.append(statement)
    return _Parts(columns, others)


def _definition(column: Column) -> str:
    return f'"{column.name}" {SQL_TYPES[column.kind]}' + ("" if column.nullable else " NOT NULL")


def _names(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _unique(table: Table, path: tuple[str, ...]) -> str:
    name = _object_name(table, path, "once")
    return f'ALTER TABLE "{table.name}" ADD CONSTRAINT "{name}" UNIQUE ({_names(path)}) DEFERRABLE INITIALLY IMMEDIATE'


def _index(table: Table, path: tuple[str, ...]) -> str:
    # ordered by key within equal values: a page of Find is a range of the index
    columns = path + tuple(name for name in table.key if name not in path)
    return f'CREATE INDEX "{_object_name(table, path, "by")}" ON "{table.name}" ({_names(columns)})'


def _object_name(table: Table, path: tuple[str, ...], word: str) -> str:
    name = f"{table.name}_{word}_{'_'.join(path)}"
    if len(name) > 63:  # noqa: PLR2004 - PostgreSQL cuts longer names silently
        raise Fault(f"{name} is longer than a name may be")
    return name


def split_statements(script: str) -> list[str]:
    """The statements of a file in our own form (each ends with ``;`` at a line's end), without comments."""
    lines = [line for line in script.splitlines() if line and not line.startswith("--")]
    return [part for part in "\n".join(lines).removesuffix(";").split(";\n") if part]
