"""The schema of every node, derived from its records and checked in as SQL.

    python -m warifu.adapters.store.schema write     writes the files that the records derive
    python -m warifu.adapters.store.schema check     exit status 1 when a file is not what the records derive

Files up to the number in ``FROZEN`` have been released: they never change. The file after them is rewritten by
``write`` to hold what the records have gained since; at a release, raise ``FROZEN``.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from warifu.adapters.store.ddl import added_statements, split_statements
from warifu.ports.store import Record

NODES: Final[dict[str, tuple[str, ...]]] = {
    "authority": ("warifu.nodes.authority",),
    "center": ("warifu.nodes.center",),
    "counter": ("warifu.domain.counter.records",),
    "front": ("warifu.nodes.front",),
    "intake": ("warifu.nodes.intake",),
    "issuance": ("warifu.nodes.issuance",),
    "numbering": ("warifu.nodes.numbering",),
    "registry": ("warifu.nodes.registry",),
}
"""Node kind (its schema's name) → the modules whose ``RECORDS`` live there, in order."""

FROZEN: Final[dict[str, int]] = {
    "authority": 2,
    "center": 2,
    "counter": 1,
    "front": 1,
    "intake": 2,
    "issuance": 1,
    "numbering": 1,
    "registry": 2,
}
"""Node kind → number of its last released file; 0 when nothing was released."""

FOLDER: Final = Path(__file__).parent / "sql"
_HEADER: Final = "-- Derived from the records of {node}: python -m warifu.adapters.store.schema write\n\n"


def records_of(node: str) -> tuple[type[Record], ...]:
    """The record types of a node kind."""
    modules = (importlib.import_module(name) for name in NODES[node])
    return tuple(record for module in modules for record in module.RECORDS)


def derived_files(node: str, records: Sequence[type[Record]], frozen: Mapping[str, str]) -> dict[str, str]:
    """File name → content, for everything after the frozen files (also name → content); empty when nothing is new."""
    before = [statement for name in sorted(frozen) for statement in split_statements(frozen[name])]
    added = added_statements(before, records)
    number = len(frozen) + 1
    text = _HEADER.format(node=node) + "".join(f"{statement};\n" for statement in added)
    return {f"{number:04}_records.sql": text} if added else {}


def expected_files(node: str, folder: Path = FOLDER) -> dict[str, str]:
    """All files of the node as they should be: the frozen ones as they are, and the derived one."""
    names = sorted(path.name for path in (folder / node).glob("*.sql"))[: FROZEN.get(node, 0)]
    frozen = {name: (folder / node / name).read_text(encoding="utf-8") for name in names}
    return frozen | derived_files(node, records_of(node), frozen)


def present_files(node: str, folder: Path = FOLDER) -> dict[str, str]:
    """All files of the node as they are."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((folder / node).glob("*.sql"))}


def write(folder: Path = FOLDER) -> list[str]:
    """Write what the records derive; returns the names of the files written."""
    written = []
    for node in NODES:
        present = present_files(node, folder)
        for name, text in expected_files(node, folder).items():
            if present.get(name) != text:
                (folder / node).mkdir(exist_ok=True)
                (folder / node / name).write_text(text, encoding="utf-8")
                written.append(f"{node}/{name}")
    return written


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    if list(arguments) == ["write"]:
        sys.stdout.writelines(f"{name}\n" for name in write())
        return 0
    if list(arguments) == ["check"]:
        drifted = [node for node in NODES if present_files(node) != expected_files(node)]
        sys.stderr.writelines(f"{node}: run python -m warifu.adapters.store.schema write\n" for node in drifted)
        return 1 if drifted else 0
    sys.stderr.write(f"{__doc__}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
