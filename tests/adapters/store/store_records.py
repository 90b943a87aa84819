"""Records for the store's tests: every column type, and every way to be found."""

from datetime import date

from warifu.ports.store import Record


class Tally(Record, frozen=True, kw_only=True):
    TABLE = "tally"
    KEY = ("half", "number")
    UNIQUE = (("stamp",), ("owner", "place"))
    INDEXED = (("owner",), ("state", "due"))

    half: str
    number: int
    stamp: str | None = None
    owner: str = ""
    place: int | None = None
    state: str = "new"
    due: date | None = None
    cut: bool = False
    face: bytes = b""
    words: tuple[str, ...] = ()


class Note(Record, frozen=True, kw_only=True):
    TABLE = "note"
    KEY = ("note_id",)

    note_id: str
    text: str | None = None
    seen: bool | None = None
    shape: bytes | None = None
    tags: tuple[str, ...] | None = None
    count: int | None = None


class Line(Record, frozen=True, kw_only=True):
    """No tuples: many at once go as arrays."""

    TABLE = "line"
    KEY = ("line_id",)
    UNIQUE = (("stamp",),)

    line_id: str
    stamp: int
    text: str = ""
    face: bytes = b""
    due: date | None = None


class Stranger(Record, frozen=True, kw_only=True):
    """Belongs to no store of these tests."""

    TABLE = "stranger"
    KEY = ("name",)

    name: str


RECORDS: tuple[type[Record], ...] = (Tally, Note, Line)
