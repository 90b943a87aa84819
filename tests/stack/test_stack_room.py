"""A supervisor hears of a full disk from programs' words, from its own logs, and from nodes' health."""

from contextlib import closing
from pathlib import Path

import pytest

from warifu.contract.health import Health, Part
from warifu.stack.keeper import Keeper
from warifu.stack.logs import RotatingLog
from warifu.stack.processes import ProcessSpec
from warifu.stack.room import TOLD_FOR_S, sentence, without_room
from warifu.stack.topology import Supervision


async def _healthy() -> Health:
    return Health(ok=True)


def keeper_of(name: str, log: RotatingLog) -> Keeper:
    spec = ProcessSpec(name=name, argv=("true",), cwd=Path("/"))
    return Keeper(spec, log, Supervision(), _healthy, lambda _event, _text: None)


def test_a_programs_words_tell_for_a_while(tmp_path: Path) -> None:
    with closing(RotatingLog(tmp_path, "postgres")) as log:
        keepers = {"postgres": keeper_of("postgres", log)}
        assert without_room(keepers, 0.0) == []
        log.write_line(b'PANIC:  could not write to file "pg_wal/xlogtemp.9": No space left on device')
        log.write_line(b"LOG:  all server processes terminated; reinitializing")
        assert log.full_s is not None
        assert without_room(keepers, log.full_s) == ["postgres"]
        assert without_room(keepers, log.full_s + TOLD_FOR_S) == []


def test_a_log_that_cannot_be_written_tells_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        @staticmethod
        def tell() -> int:
            return 0

        @staticmethod
        def write(_data: bytes) -> int:
            raise OSError(28, "No space left on device")

    log = RotatingLog(tmp_path, "center")
    log.close()
    monkeypatch.setattr(log, "_file", Full())
    log.event("tick")
    assert log.dropped == 1
    assert without_room({"center": keeper_of("center", log)}, log.full_s or 0.0) == ["center"]


@pytest.mark.parametrize(
    ("part", "short"),
    [
        (Part(ok=False, detail="disk.full: no space left for what the CS takes on"), True),
        (Part(ok=False, detail="part.unavailable: the database does not serve: 57P03"), False),
        (Part(ok=True, detail="disk.full: earlier"), False),
    ],
)
def test_a_nodes_health_tells_as_long_as_it_says_so(tmp_path: Path, part: Part, *, short: bool) -> None:
    """Also of a part that is only a warning: a CS that cannot record still answers."""
    with closing(RotatingLog(tmp_path, "cs-131016")) as log:
        keeper = keeper_of("cs-131016", log)
        keeper.health = Health(ok=True, parts={"backlog": part})
        assert bool(without_room({"cs-131016": keeper}, 0.0)) == short


def test_the_sentence_says_who_where_and_what_to_do(tmp_path: Path) -> None:
    assert sentence([], tmp_path) == ""
    said = sentence(["postgres", "cs-131016"], tmp_path)
    assert said.startswith(f"no space left for postgres, cs-131016 in {tmp_path}: free some")
