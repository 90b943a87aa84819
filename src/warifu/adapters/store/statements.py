"""The SQL of a read and of a change, and the values that go with it.

Texts depend only on the *shape* of a read or change (which tables, how many rows), never on its values, so a node uses
a handful of them and each is prepared once per connection.
"""
# ruff: noqa: S608 - names come from checked declarations (shape.py); every value is a parameter

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from warifu.adapters.store.change import Plan, detail_of
from warifu.adapters.store.ddl import COLLATION, SQL_TYPES
from warifu.adapters.store.shape import Table
from warifu.ports.store import AuditEntry, Change, Check, Delete, Find, Get, Insert, Join, RequestKey, Update

Guarded = Update | Delete | Check
MANY: Final = 8
"""From so many alike writes on they go as arrays: hundreds of rows are one short statement, prepared once."""
_SqlColumns = tuple[tuple[str, str], ...]
_JOURNAL: Final = (("stream", "text"), ("event", "text"), ("operation_id", "text"), ("detail", "jsonb"))
_AUDIT: Final = tuple((name, "text") for name in ("actor", "action", "subject", "operation_id", "purpose"))
_OUTBOX: Final = (
    ("message_id", "text"),
    ("destination", "text"),
    ("name", "text"),
    ("body", "bytea"),
    ("operation_id", "text"),
    ("order_key", "text"),
)
_REQUEST: Final = (
    ("node", "text"),
    ("operation_id", "text"),
    ("step", "text"),
    ("digest", "bytea"),
    ("answer", "bytea"),
)


class ReadShape(Struct, frozen=True):
    """All that a read's SQL depends on."""

    table: type[Any]
    path: tuple[str, ...] | None
    """None for a ``Get``."""
    nulls: tuple[str, ...]
    """Columns of the path that must be NULL."""
    after: bool


class Parts(Struct, frozen=True):
    """A plan's writes, those of many rows apart: they go as one array a column, whatever their number."""

    guarded: tuple[tuple[Table, Guarded], ...]
    many: tuple[tuple[Table, type[Any], tuple[str, ...], tuple[Guarded, ...]], ...]
    """Table, kind, columns, and the writes."""
    inserts: tuple[tuple[Table, tuple[Insert, ...]], ...]


class ChangeShape(Struct, frozen=True):
    """All that a change's SQL depends on."""

    guarded: tuple[tuple[str, type[Any], tuple[str, ...]], ...]
    """Kind of write (its class's name), record, and the columns that change (none named: all)."""
    many: tuple[tuple[str, type[Any], tuple[str, ...]], ...]
    """The same, for those that go as arrays."""
    inserts: tuple[tuple[type[Any], int], ...]
    """Record and how many; 0: as arrays."""
    journal: int
    audit: int
    outbox: int
    request: bool


class _Places:
    """Numbers the parameters of a statement."""

    def __init__(self, used: int = 0) -> None:
        self._used = used

    def take(self, sql_type: str) -> str:
        self._used += 1
        # the parameter itself has no collation: the column's is used
        return f"${self._used}::{sql_type.removesuffix(COLLATION)}"


def read_shape(table: Table, read: Get | Find) -> ReadShape:
    """The shape of a checked read."""
    if isinstance(read, Get):
        return ReadShape(table.record, None, (), after=False)
    path = table.path_of(read)
    nulls = tuple(name for name in path if read.where[name] is None)
    return ReadShape(table.record, path, nulls, after=read.after is not None)


def read_values(shape: ReadShape, read: Get | Find) -> Iterator[Any]:
    """The parameters of one read, in the order of its SQL."""
    if isinstance(read, Get):
        yield from read.key
        return
    for name in shape.path or ():
        if name not in shape.nulls:
            yield read.where[name]
    yield from read.after or ()
    yield read.limit


def join_values(join: Join) -> list[Any]:
    """The parameters of a join, in the order of its SQL."""
    return [*join.where.values(), *([join.at_least[1]] if join.at_least else [])]


def request_values(request: RequestKey) -> tuple[str, str, str]:
    """The parameters that find a request's answer: they come first."""
    return request.node, request.operation_id, request.step


def audit_values(audit: AuditEntry) -> list[str]:
    """The parameters of an audit entry, in the order of its SQL."""
    return [getattr(audit, name) for name, _ in _AUDIT]


class Statements:
    """The texts for one schema.

    Args:
        schema: the node kind.
        tables: its tables by record.
    """

    def __init__(self, schema: str, tables: dict[str, Table]) -> None:
        self._schema = schema
        self._by_record = {table.record: table for table in tables.values()}
        self.read = functools.lru_cache(maxsize=1000)(self._read)
        self.look = functools.lru_cache(maxsize=100)(self._look)
        self.change = functools.lru_cache(maxsize=1000)(self._change)

    def join(self, table: Table, join: Join) -> tuple[str, str]:
        """The size of all of it, and the pieces in their order: two texts with the same parameters."""
        places = _Places()
        bounds = [(name, "=") for name in join.where] + ([(join.at_least[0], ">=")] if join.at_least else [])
        condition = " AND ".join(
            f't."{name}" {compared} {places.take(SQL_TYPES[table.columns[name].kind])}' for name, compared in bounds
        )
        rows = f"FROM {self._in(table.name)} AS t" + (f" WHERE {condition}" if condition else "")
        joined = f"string_agg(t.\"{join.column}\", ''::bytea ORDER BY {_columns(table.key)})"
        cut = f' GROUP BY t."{join.pieces}" ORDER BY t."{join.pieces}"' if join.pieces else ""
        return (
            f'SELECT coalesce(sum(octet_length(t."{join.column}")), 0)::bigint {rows}',
            f"SELECT {joined} {rows}{cut}",
        )

    def _in(self, name: str) -> str:
        return f'"{self._schema}"."{name}"'

    def _read(self, shapes: tuple[ReadShape, ...], *, asked: bool) -> str:
        """One row: the request's (digest, answer) or NULL, then per read a row or an array of rows."""
        places = _Places()
        keys = " AND ".join(f"r.{name} = {places.take('text')}" for name in ("node", "operation_id", "step") if asked)
        answer = f"(SELECT ROW(r.digest, r.answer) FROM {self._in('requests')} AS r WHERE {keys})" if asked else "NULL"
        return "SELECT " + ",\n".join((answer, *(self._one_read(shape, places) for shape in shapes)))

    def _look(self, shape: ReadShape) -> str:
        """One row with one row in it, or NULL; the audit entry is there exactly if the record is."""
        places = _Places(1)  # $1 is the instant
        table = self._by_record[shape.table]
        row = "ROW({})".format(", ".join(f't."{name}"' for name in table.names))
        where = self._equal(table, table.key, (), places)
        names = ", ".join(f'"{name}"' for name, _ in _AUDIT)
        values = ", ".join(places.take(sql_type) for _, sql_type in _AUDIT)
        return (
            f"WITH seen AS (SELECT {row} AS found FROM {self._in(table.name)} AS t WHERE {where}), left_behind AS ("
            f"INSERT INTO {self._in('audit')} ({names}, at_ms) SELECT {values}, $1::bigint FROM seen) "
            "SELECT (SELECT found FROM seen)"
        )

    def _one_read(self, shape: ReadShape, places: _Places) -> str:
        table = self._by_record[shape.table]
        # an anonymous row, its columns named here: a column added by a later migration changes nothing
        row = "ROW({})".format(", ".join(f't."{name}"' for name in table.names))
        rows = f"SELECT {row} FROM {self._in(table.name)} AS t"
        if shape.path is None:
            return f"({rows} WHERE {self._equal(table, table.key, (), places)})"
        where = [self._equal(table, shape.path, shape.nulls, places)] if shape.path else []
        if shape.after:
            last = ", ".join(places.take(SQL_TYPES[table.columns[name].kind]) for name in table.key)
            where.append(f"({_columns(table.key)}) > ({last})")
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        return f"ARRAY({rows}{condition} ORDER BY {_columns(table.key)} LIMIT {places.take('bigint')})"

    def _equal(self, table: Table, path: tuple[str, ...], nulls: tuple[str, ...], places: _Places) -> str:
        return " AND ".join(
            f't."{name}" IS NULL'
            if name in nulls
            else f't."{name}" = {places.take(SQL_TYPES[table.columns[name].kind])}'
            for name in path
        )

    def _change(self, shape: ChangeShape) -> str:
        """One statement. The guards are looked at first; a missed one aborts it before anything is inserted."""
        places = _Places(1)  # $1 is the instant
        parts: list[str] = []
        guards: list[str] = []
        for kind, record, only in shape.guarded:
            part, guard = self._guarded(kind, self._by_record[record], only, places, f"g{len(guards)}")
            parts.extend([part] if part else [])
            guards.append(guard)
        for kind, record, only in shape.many:
            part, guard = self._many(kind, self._by_record[record], only, places, f"m{len(guards)}")
            parts.extend([part] if part else [])
            guards.append(guard)
        parts.extend(self._additions(shape, places))
        condition = " AND ".join(guards) or "true"
        # ModifyTable parts that nobody reads run to their end after the main query, which has looked at the guards
        main = f"SELECT CASE WHEN {condition} THEN true ELSE {self._in('guard_missed')}() END, $1::bigint"
        return f"WITH {', '.join(parts)}\n{main}" if parts else main

    def _guarded(self, kind: str, table: Table, only: tuple[str, ...], places: _Places, name: str) -> tuple[str, str]:
        """A CTE (or "" when there is nothing to modify) and the condition that it found its row."""
        if kind != Update.__name__:
            where = self._key_and_version(table, {}, places)
            if kind == Delete.__name__:
                return self._modifying(name, f"DELETE FROM {self._in(table.name)} AS t WHERE {where} RETURNING 1")
            # FOR SHARE: nobody changes the record between this check and our commit
            return "", f"EXISTS (SELECT 1 FROM {self._in(table.name)} AS t WHERE {where} FOR SHARE)"
        values = {column: places.take(SQL_TYPES[table.columns[column].kind]) for column in _changed(table, only)}
        sets = [f'"{column}" = {place}' for column, place in values.items() if column not in table.key]
        where = self._key_and_version(table, values, places)
        update = f"UPDATE {self._in(table.name)} AS t SET {', '.join((*sets, 'version = t.version + 1'))} WHERE {where}"
        return self._modifying(name, f"{update} RETURNING 1")

    def _many(self, kind: str, table: Table, only: tuple[str, ...], places: _Places, name: str) -> tuple[str, str]:
        """As ``_guarded``, for rows given as arrays, a column each: the guard counts those that were found."""
        columns = _changed(table, only) if kind == Update.__name__ else table.key
        arrays = [places.take(f"{_plain_type(table, column)}[]") for column in columns]
        arrays.append(places.take("bigint[]"))
        names = ", ".join(f'"{column}"' for column in (*columns, "version"))
        rows = f"unnest({', '.join(arrays)}) AS v({names})"
        where = " AND ".join(f't."{column}" = v."{column}"' for column in (*table.key, "version"))
        wanted, here = f"cardinality({arrays[-1]})", self._in(table.name)
        if kind == Check.__name__:
            found = f"SELECT 1 FROM {rows} JOIN {here} AS t ON {where} FOR SHARE OF t"
            return "", f"(SELECT count(*) FROM ({found}) AS {name}) = {wanted}"
        if kind == Delete.__name__:
            change = f"DELETE FROM {here} AS t USING {rows} WHERE {where}"
        else:
            sets = ", ".join(f'"{column}" = v."{column}"' for column in columns if column not in table.key)
            change = f"UPDATE {here} AS t SET {sets}, version = t.version + 1 FROM {rows} WHERE {where}"
        return f"{name} AS ({change} RETURNING 1)\n", f"(SELECT count(*) FROM {name}) = {wanted}"

    def _key_and_version(self, table: Table, values: dict[str, str], places: _Places) -> str:
        keys = [(name, values.get(name) or places.take(SQL_TYPES[table.columns[name].kind])) for name in table.key]
        return " AND ".join(f't."{name}" = {place}' for name, place in (*keys, ("version", places.take("bigint"))))

    def _modifying(self, name: str, statement: str) -> tuple[str, str]:
        return f"{name} AS ({statement})\n", f"EXISTS (SELECT 1 FROM {name})"

    def _additions(self, shape: ChangeShape, places: _Places) -> Iterator[str]:
        """The CTEs that only insert."""
        for record, count in shape.inserts:
            table = self._by_record[record]
            columns = tuple((name, SQL_TYPES[table.columns[name].kind]) for name in _values_of(table))
            if count:
                yield self._insert(table.name, columns, ("version", "1"), count, places)
            else:
                yield self._insert_many(table, places)
        instant = ("at_ms", "$1::bigint")
        rest = (
            ("journal", _JOURNAL, shape.journal),
            ("audit", _AUDIT, shape.audit),
            ("outbox", _OUTBOX, shape.outbox),
            ("requests", _REQUEST, int(shape.request)),
        )
        for name, own, count in rest:
            if count:
                yield self._insert(name, own, instant, count, places)

    def _insert_many(self, table: Table, places: _Places) -> str:
        columns = _values_of(table)
        names = ", ".join(f'"{column}"' for column in columns)
        arrays = ", ".join(places.take(f"{_plain_type(table, column)}[]") for column in columns)
        rows = f"SELECT v.*, 1 FROM unnest({arrays}) AS v({names})"
        return f'"new {table.name}" AS (INSERT INTO {self._in(table.name)} ({names}, version) {rows})\n'

    def _insert(self, table: str, columns: _SqlColumns, fixed: tuple[str, str], count: int, places: _Places) -> str:
        """``count`` rows of ``columns``, and one more column that is the same in all."""
        names = ", ".join(f'"{name}"' for name in (*(name for name, _ in columns), fixed[0]))
        rows = (
            "({})".format(", ".join((*(places.take(sql_type) for _, sql_type in columns), fixed[1])))
            for _ in range(count)
        )
        return f'"new {table}" AS (INSERT INTO {self._in(table)} ({names}) VALUES {", ".join(rows)})\n'


def _columns(names: tuple[str, ...]) -> str:
    return ", ".join(f't."{name}"' for name in names)


def _values_of(table: Table) -> tuple[str, ...]:
    """Every column but the version."""
    return tuple(name for name in table.names if name != "version")


def _changed(table: Table, only: tuple[str, ...]) -> tuple[str, ...]:
    """What an update sends: the key and the columns that change, in the table's order."""
    return tuple(name for name in _values_of(table) if not only or name in only or name in table.key)


def _plain_type(table: Table, column: str) -> str:
    return SQL_TYPES[table.columns[column].kind].removesuffix(COLLATION)


def parts_of(plan: Plan) -> Parts:
    """A plan's writes, the many apart. Tables with tuple columns never go as arrays: PostgreSQL would flatten them."""
    by_kind: dict[tuple[str, type[Any], tuple[str, ...]], tuple[Table, list[Guarded]]] = {}
    for table, write in plan.guarded:
        by_kind.setdefault((table.name, type(write), _only(write)), (table, []))[1].append(write)
    few: list[tuple[Table, Guarded]] = []
    many: list[tuple[Table, type[Any], tuple[str, ...], tuple[Guarded, ...]]] = []
    for (_, kind, only), (table, writes) in by_kind.items():
        if len(writes) < MANY or table.tuples:
            few.extend((table, write) for write in writes)
        else:
            many.append((table, kind, only, tuple(writes)))
    return Parts(tuple(few), tuple(many), plan.inserts)


def _only(write: Guarded) -> tuple[str, ...]:
    return write.only if isinstance(write, Update) else ()


def change_shape(change: Change, parts: Parts) -> ChangeShape:
    """The shape of a checked change."""
    return ChangeShape(
        guarded=tuple((type(write).__name__, table.record, _only(write)) for table, write in parts.guarded),
        many=tuple((kind.__name__, table.record, only) for table, kind, only, _ in parts.many),
        inserts=tuple(
            (table.record, 0 if _as_arrays(table, inserts) else len(inserts)) for table, inserts in parts.inserts
        ),
        journal=len(change.journal),
        audit=len(change.audit),
        outbox=len(change.outbox),
        request=change.request is not None,
    )


def _as_arrays(table: Table, inserts: tuple[Insert, ...]) -> bool:
    return len(inserts) >= MANY and not table.tuples


def change_values(change: Change, parts: Parts) -> list[Any]:
    """The parameters of a change, in the order of its SQL."""
    values: list[Any] = [change.now_ms]
    for table, write in parts.guarded:
        values.extend(_guarded_values(table, write))
    for table, kind, only, writes in parts.many:
        columns = _changed(table, only) if kind is Update else table.key
        values.extend(_arrays((*columns, "version"), writes))
    for table, inserts in parts.inserts:
        if _as_arrays(table, inserts):
            values.extend(_arrays(_values_of(table), inserts))
        else:
            for insert in inserts:
                values.extend(_insert_values(table, insert))
    values.extend(_additional_values(change))
    return values


def _arrays(columns: tuple[str, ...], writes: Sequence[Guarded | Insert]) -> Iterator[list[Any]]:
    records = [write.record for write in writes]
    for column in columns:
        yield [getattr(record, column) for record in records]


def _additional_values(change: Change) -> Iterator[Any]:
    for entry in change.journal:
        yield from (entry.stream, entry.event, entry.operation_id, detail_of(entry))
    for audited in change.audit:
        yield from audit_values(audited)
    for message in change.outbox:
        yield from (getattr(message, name) for name, _ in _OUTBOX)
    if change.request is not None:
        yield from (*request_values(change.request), change.request.digest, change.answer)


def _insert_values(table: Table, insert: Insert) -> Iterator[Any]:
    return (getattr(insert.record, name) for name in _values_of(table))


def _guarded_values(table: Table, write: Update | Delete | Check) -> Iterator[Any]:
    names = _changed(table, _only(write)) if isinstance(write, Update) else table.key
    yield from (getattr(write.record, name) for name in names)
    yield write.record.version
