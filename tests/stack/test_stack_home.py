"""WARIFU_HOME: what is private, who holds it, and what cannot be one."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from warifu.stack.errors import AlreadyRunning, HomeUnusable
from warifu.stack.home import Home, default_home, write_file

HOLD = """
import sys
from pathlib import Path
from warifu.stack.home import Home
with Home(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_what_lies_in_a_home_is_its_owners_alone(home: Home) -> None:
    private = [home.keys, home.cards, home.logs, home.run, home.secrets, home.tls]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in private} == {0o700}


def test_a_home_is_held_by_one_process_and_told_to_the_second(home: Home) -> None:
    assert home.holder() is None
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert home.holder() == holder.pid
        with pytest.raises(AlreadyRunning, match=f"process {holder.pid} already runs a stack"), home.held():
            pass
        holder.kill()
    assert home.holder() is None
    with home.held():
        assert home.holder() == os.getpid()


def test_a_file_where_the_home_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeUnusable, match="set WARIFU_HOME to a folder of your own"):
        Home(tmp_path / "file" / "home").prepare()


def test_the_home_is_warifu_home_or_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WARIFU_HOME", str(tmp_path))
    assert default_home().root == tmp_path
    monkeypatch.delenv("WARIFU_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_home().root == tmp_path / "warifu"


def test_a_file_is_replaced_whole_and_privately(tmp_path: Path) -> None:
    write_file(tmp_path / "secret", b"old")
    write_file(tmp_path / "secret", b"new")
    assert (tmp_path / "secret").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
