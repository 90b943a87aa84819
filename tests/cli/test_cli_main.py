"""The command line: help with examples, one line for each error, exit statuses."""

import argparse
import errno
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from warifu import cli
from warifu.stack import topology
from warifu.stack.errors import TopologyInvalid

COMMANDS = cli._commands()


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on stderr: exactly one line."""
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    return lines[0]


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers without commands below them."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser
    for action in below:
        for child in action.choices.values():
            yield from leaves(child)


@pytest.mark.parametrize("parser", list(leaves(cli._parser([]))), ids=lambda parser: parser.prog)
def test_every_help_has_an_example(parser: argparse.ArgumentParser) -> None:
    _, found, examples = parser.format_help().partition("example")
    assert found
    assert parser.prog in examples


def test_the_help_names_every_command_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert {"up", "down", "status"} <= set(COMMANDS)
    assert all(f"\n    {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("words", [["fly"], [], ["up", "--sideways"]])
def test_wrong_usage_is_told_in_one_line_with_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert told(capsys).startswith("warifu: usage: ")


def test_a_wrong_topology_is_told_with_its_code(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARIFU_HOME", str(tmp_path / "home"))
    file = tmp_path / "my.toml"
    file.write_text('name = "x"\ncolour = "red"\nnode = []\n', "utf-8")
    assert cli.main(["up", "--topology", str(file)]) == 1
    assert told(capsys).startswith(f"warifu: topology.invalid: {file}: top level: unknown key 'colour'")
    assert not (tmp_path / "home").exists()


def test_status_without_a_stack_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARIFU_HOME", str(tmp_path))
    assert cli.main(["status", "--json"]) == 1
    assert told(capsys) == f"warifu: stack.not_running: no stack runs in {tmp_path}: `warifu up` starts one"


def test_down_without_a_stack_is_no_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARIFU_HOME", str(tmp_path))
    assert cli.main(["down"]) == 0
    assert capsys.readouterr().out == f"nothing runs in {tmp_path}\n"


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status when a command ends with this error."""

    def run(_args: argparse.Namespace) -> int:
        raise error

    module = types.SimpleNamespace(run=run)
    parser = types.SimpleNamespace(parse_args=lambda _words: argparse.Namespace(module=module))
    monkeypatch.setattr(cli, "_parser", lambda _words: parser)
    return cli.main(["status"])


def test_a_full_disk_is_told_as_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert failing(OSError(errno.ENOSPC, "No space left on device", "/data/x"), monkeypatch) == 1
    assert told(capsys).startswith("warifu: disk.full: no space left for /data/x: free some")


def test_an_error_out_of_a_task_group_is_told_as_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = ExceptionGroup("tasks", [RuntimeError("side effect"), TopologyInvalid("no\nsuch")])
    assert failing(ExceptionGroup("tasks", [inner]), monkeypatch) == 1
    assert told(capsys) == "warifu: topology.invalid: no such"


def test_ctrl_c_ends_with_130_and_no_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert failing(KeyboardInterrupt(), monkeypatch) == 130
    assert capsys.readouterr().err == ""


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError(), monkeypatch)


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "warifu.cli", "up", "--help"], capture_output=True, check=True)
    assert ", ".join(topology.built_in()).encode() in done.stdout
