"""What is told of a machine: what behaviour depends on, and nothing that names this one machine."""

import socket

import pytest

from warifu.stack import machine


def test_every_fact_is_told_once_with_what_a_difference_means() -> None:
    names = [fact.name for fact in machine.FACTS]
    assert list(machine.facts()) == names
    assert len(set(names)) == len(names)
    assert all(fact.not_shown for fact in machine.FACTS)


def test_what_this_machine_certainly_has_is_known() -> None:
    told = machine.facts()
    assert all(told[name] != machine.UNKNOWN for name in ("processors", "memory", "kernel", "Python", "PostgreSQL"))


def test_what_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_path: str) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(machine, "_text", missing)
    assert machine.facts()["boot parameters"] == machine.UNKNOWN


def test_boot_parameters_that_name_this_machine_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "BOOT_IMAGE=/vmlinuz root=UUID=1 rd.luks.uuid=2 ip=10.0.0.7 intremap=off key=secret quiet -- --at 10.0.0.7"
    monkeypatch.setattr(machine, "_text", lambda _path: said)
    assert machine.facts()["boot parameters"] == "intremap=off quiet"


def test_the_machine_s_name_is_not_told() -> None:
    assert all(value != socket.gethostname() for value in machine.facts().values())
