"""``tools/other_pythons.py``: what it says, and how it ends, when another Python cannot be tried."""

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OTHERS = ("3.88", "3.99")


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script, on a machine with two other Pythons that hold."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    found = importlib.util.spec_from_file_location("other_pythons", ROOT / "tools" / "other_pythons.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    for name, played in {
        "versions": lambda: [module.version_of("python3"), *OTHERS],
        "version_of": lambda python: python if python in OTHERS else "3.11",
        "find": lambda version: version,
        "searched": lambda _python: "hash",
    }.items():
        monkeypatch.setattr(module, name, played)
    monkeypatch.setattr(module.bootstrap, "TOOLS", tmp_path)
    monkeypatch.setattr(module.bootstrap, "find_uv", lambda: "uv")
    monkeypatch.setattr(module.bootstrap, "make", lambda *_: None)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0))
    return module


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_each_that_holds_has_its_line(tool: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main() == 0
    assert said(capsys) == ["3.11  hash  this one", *(f"{each}  hash  the same; tests pass" for each in OTHERS)]


def test_one_that_is_not_here_is_named_and_no_failure(
    tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "find", lambda _version: None)
    assert tool.main() == 0
    assert said(capsys)[1:] == [f"{each}  not on this machine" for each in OTHERS]


def test_an_environment_that_cannot_be_made_is_told_and_the_next_one_is_tried(
    tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(_uv: str, _environment: Path, python: str, *_groups: str) -> None:
        if python == OTHERS[0]:
            raise tool.bootstrap.SetupError("uv sync: no route: see that the package index can be reached")

    monkeypatch.setattr(tool.bootstrap, "make", make)
    assert tool.main() == 1
    assert said(capsys)[1:] == [
        "3.88  FAIL: uv sync: no route: see that the package index can be reached",
        "3.99  hash  the same; tests pass",
    ]


def test_tests_that_do_not_end_are_told(
    tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never_ends(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", never_ends)
    assert tool.main() == 1
    told = "FAIL: the tests did not end within 300 s: run this again with nothing else on the machine"
    assert said(capsys)[1:] == [f"{each}  {told}" for each in OTHERS]


def test_a_search_that_does_not_end_is_told_and_nothing_is_compared_with_it(
    tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never_ends(python: str) -> str:
        raise subprocess.TimeoutExpired([python, "-m", "warifu.cli", "lab", "search"], 300)

    monkeypatch.setattr(tool, "searched", never_ends)
    assert tool.main() == 1
    told = "3.11  FAIL: the search did not end within 300 s: run this again with nothing else on the machine"
    assert said(capsys) == [told]


def test_an_environment_that_does_not_run_is_told(
    tool: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def searched(python: str) -> str:
        if OTHERS[0] in python:
            raise PermissionError(13, "Permission denied", python)
        return "hash"

    monkeypatch.setattr(tool, "searched", searched)
    assert tool.main() == 1
    assert said(capsys)[1].startswith(f"3.88  FAIL: {tmp_path}/python-3.88/bin/python: Permission denied: make it")
