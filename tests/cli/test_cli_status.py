"""``warifu status``: what people see of the rotation."""

import pytest

from warifu import cli
from warifu.stack import status
from warifu.stack.status import InRotation, StackStatus


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *rotation: InRotation) -> list[str]:
    now = StackStatus(
        state="running", topology="quarter", home="/h", started_ms=1, balancer="HAProxy", rotation=rotation
    )
    monkeypatch.setattr(status, "read", lambda _home: now)
    assert cli.main(["status"]) == 0
    return capsys.readouterr().out.splitlines()


def test_people_see_how_many_connections_each_relay_has_and_who_is_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(
        monkeypatch,
        capsys,
        InRotation(name="relay-1", state="UP", connections=8),
        InRotation(name="relay-2", state="DOWN (agent)", connections=0),
    )
    assert "balancer: HAProxy; connections: relay-1 8, relay-2 0 (DOWN (agent))" in lines


def test_where_no_balancer_runs_nothing_is_said_of_connections(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "balancer: HAProxy" in shown(monkeypatch, capsys)
