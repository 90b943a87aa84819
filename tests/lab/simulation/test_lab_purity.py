"""Nodes, domain and contract reach the world through ports: the laboratory could not repeat anything otherwise."""

import ast
from pathlib import Path

import pytest

import warifu

ROOMS = ("kernel", "contract", "chip", "ports", "domain", "nodes")
FORBIDDEN = frozenset(
    {"time", "random", "secrets", "uuid", "threading", "socket", "subprocess", "multiprocessing", "concurrent", "ssl"}
)
NOW = frozenset({"now", "utcnow", "today", "to_thread", "wait_for", "run_in_executor"})
SOURCES = sorted(path for room in ROOMS for path in (Path(warifu.__path__[0]) / room).rglob("*.py"))


def reaches_out(source: str) -> list[str]:
    """What a module imports or calls that goes around the ports."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if name.name.split(".")[0] in FORBIDDEN]
            case ast.ImportFrom(module=str(module), level=0) if module.split(".")[0] in FORBIDDEN:
                found.append(module)
            case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in NOW:
                found.append(attribute)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_goes_around_the_ports(path: Path) -> None:
    assert reaches_out(path.read_text("utf-8")) == []


def test_the_check_sees_what_it_looks_for() -> None:
    source = "import time\nfrom concurrent.futures import Future\nimport datetime\nx = datetime.date.today()\n"
    assert reaches_out(source) == ["time", "concurrent.futures", "today"]
