"""Ports and who reaches whom."""

import socket
from pathlib import Path

import msgspec
import pytest

from warifu.stack import addresses, topology
from warifu.stack.addresses import Address, Addresses
from warifu.stack.errors import PortTaken
from warifu.stack.home import Home

DEMO = topology.load("demo")


def test_ports_are_kept_from_run_to_run_and_chosen_anew_when_taken(home: Home) -> None:
    first = addresses.assign(DEMO, home)
    faces = sum(node.has_http for node in DEMO.node)
    assert len(set(first.ports.values())) == len(DEMO.node) + faces + 2
    assert addresses.assign(DEMO, home) == first
    with socket.create_server(("127.0.0.1", first.ports["center"])):
        second = addresses.assign(DEMO, home)
    assert {name for name, port in second.ports.items() if port != first.ports[name]} == {"center"}


def test_a_fixed_port_that_is_taken_is_told(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        fixed = msgspec.structs.replace(DEMO, database=topology.Database(port=port))
        with pytest.raises(PortTaken, match=f"postgres: port {port} is taken: end what listens there"):
            addresses.assign(fixed, home)


def test_chosen_ports_lie_outside_those_of_outgoing_connections(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel = tmp_path / "range"
    monkeypatch.setattr(addresses, "_EPHEMERAL", kernel)
    kernel.write_text("32768\t60999\n")
    assert addresses._open_range() == range(15_000, 32_768)
    kernel.write_text("1024\t60999\n")
    assert addresses._open_range() == range(61_000, 65_000)


def test_a_service_is_reached_through_the_balancer_or_at_each_of_its_nodes() -> None:
    ports = {node.name: 7000 + number for number, node in enumerate(DEMO.node)} | {"haproxy": 6000}
    known = Addresses(ports)
    alone = known.book(DEMO, balanced=False)
    assert alone["relay"] == (known.of("relay-1"), known.of("relay-2"))
    behind = known.book(DEMO, balanced=True)
    assert behind["relay"] == (Address("127.0.0.1", 6000),)
    assert behind["relay-2"] == alone["relay-2"] == (known.of("relay-2"),)
    assert behind["cs-131016"] == (known.of("cs-131016"),)
