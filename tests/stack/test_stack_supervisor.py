"""A whole stack of small programs: start, kills, hanging on, ending; with the real PostgreSQL and HAProxy."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stack_dummies import gone, until

from warifu.stack import control, status
from warifu.stack.errors import NotRunning
from warifu.stack.home import Home
from warifu.stack.status import StackStatus

pytestmark = pytest.mark.real

SMALL = """
name = "small"
database = { max_connections = 20, shared_buffers_mb = 16 }
supervision = { probe_every_s = 0.1, hang_after_s = 1.0 }

[[node]]
name = "center"
kind = "center"

[[node]]
name = "relay-1"
kind = "relay"
service = "relay"

[[node]]
name = "relay-2"
kind = "relay"
service = "relay"
"""


def start(home: Home, text: str = SMALL) -> "subprocess.Popen[bytes]":
    file = home.root / "topology.toml"
    file.write_text(text, "utf-8")
    program = Path(__file__).parent / "stack_dummies.py"
    return subprocess.Popen([sys.executable, str(program), str(home.root), str(file)], stderr=subprocess.PIPE)


def now(home: Home) -> StackStatus | None:
    try:
        return status.read(home)
    except NotRunning:
        return None


def is_running(home: Home) -> bool:
    seen = now(home)
    return seen is not None and seen.state == "running" and seen.healthy


@contextmanager
def running(home: Home, text: str = SMALL) -> Iterator["subprocess.Popen[bytes]"]:
    with start(home, text) as supervisor:
        try:
            until(lambda: is_running(home) or supervisor.poll() is not None)
            assert supervisor.poll() is None, supervisor.stderr and supervisor.stderr.read()
            yield supervisor
        finally:
            supervisor.terminate()


def pids(home: Home) -> dict[str, int]:
    return {process.name: process.pid for process in status.read(home).processes}


def test_every_process_is_in_status_and_a_down_ends_them_all(home: Home) -> None:
    with running(home) as supervisor:
        before = pids(home)
        assert set(before) == {"supervisor", "postgres", "haproxy", "center", "relay-1", "relay-2"}
        assert before["supervisor"] == supervisor.pid
        seen = json.loads(home.status.read_bytes())
        assert seen["balancer"].startswith("HAProxy on 127.0.0.1:")
        assert control.stop(home)
        assert supervisor.wait(10) == 0
    assert all(gone(pid) for pid in before.values())
    assert not (home.root / "postgres" / "postmaster.pid").exists()
    assert not control.stop(home)
    with pytest.raises(NotRunning):
        status.read(home)


def test_ctrl_c_ends_cleanly(home: Home) -> None:
    with running(home) as supervisor:
        before = pids(home)
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(15) == 0, supervisor.stderr and supervisor.stderr.read().decode()
    assert all(gone(pid) for pid in before.values())


@pytest.mark.parametrize("name", ["postgres", "haproxy", "center"])
def test_a_killed_process_comes_back_where_it_was(home: Home, name: str) -> None:
    with running(home):
        before = status.read(home).find(name)
        assert before is not None
        os.kill(before.pid, signal.SIGKILL)
        until(lambda: pids(home).get(name, before.pid) != before.pid and is_running(home))
        after = status.read(home).find(name)
        assert after is not None
        assert (after.port, after.restarts) == (before.port, 1)


def test_a_stopped_process_is_declared_hung_killed_and_started_anew(home: Home) -> None:
    with running(home):
        before = pids(home)["center"]
        os.kill(before, signal.SIGSTOP)
        until(lambda: pids(home).get("center", before) != before and is_running(home))
        assert gone(before)


def test_the_children_do_not_outlive_a_killed_supervisor(home: Home) -> None:
    with running(home) as supervisor:
        before = pids(home)
        supervisor.kill()
        supervisor.wait()
    until(lambda: all(gone(pid) for pid in before.values()))


def test_a_second_supervisor_is_told_of_the_first(home: Home) -> None:
    with running(home) as first, start(home) as second:
        assert second.wait(10) != 0
        assert second.stderr is not None
        assert f"process {first.pid} already runs a stack" in second.stderr.read().decode()
        assert is_running(home)


def test_a_stack_that_cannot_start_leaves_nothing_running(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with start(home, SMALL.replace('kind = "center"', f'kind = "center"\nport = {port}')) as supervisor:
            assert supervisor.wait(20) != 0
            assert supervisor.stderr is not None
            assert f"center: port {port} is taken" in supervisor.stderr.read().decode()
    assert home.holder() is None
    assert not (home.root / "postgres" / "postmaster.pid").exists()


def test_without_haproxy_the_status_says_who_balances(home: Home) -> None:
    with running(home, SMALL.replace("[[node]]", 'balancer = { kind = "none" }\n\n[[node]]', 1)):
        seen = status.read(home)
        assert seen.balancer == "none: each cs balances over the nodes of relay itself"
        assert seen.find("haproxy") is None


def test_a_stop_while_starting_ends_what_has_begun(home: Home) -> None:
    with start(home) as supervisor:
        until(lambda: (seen := now(home)) is not None and any(node.pid for node in seen.nodes))
        supervisor.terminate()
        assert supervisor.wait(20) == 0, supervisor.stderr and supervisor.stderr.read().decode()
    assert not (home.root / "postgres" / "postmaster.pid").exists()


def test_the_last_words_of_a_killed_supervisor_are_not_taken_for_its_successors(home: Home) -> None:
    with running(home) as supervisor:
        stale, before = home.status.read_bytes(), pids(home)
        supervisor.kill()
        supervisor.wait()
        until(lambda: all(gone(pid) for pid in before.values()))
    with home.held():
        home.status.write_bytes(stale)
        with pytest.raises(NotRunning, match="only just starting"):
            status.read(home)
