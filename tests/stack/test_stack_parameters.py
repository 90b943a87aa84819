"""Every parameter of a topology is told with its value, its default and its reason."""

import msgspec

from warifu.stack.parameters import Parameter, parameters
from warifu.stack.topology import Database, Policies, load

DEMO = load("demo")


def find(found: tuple[Parameter, ...], where: str, name: str) -> Parameter:
    (one,) = (each for each in found if (each.where, each.name) == (where, name))
    return one


def test_a_node_s_limit_is_told_with_its_default_and_reason() -> None:
    nodes = (msgspec.structs.replace(node, policies=Policies(lease_s=60)) for node in DEMO.node)
    one = find(parameters(msgspec.structs.replace(DEMO, node=tuple(nodes))), "relay-1", "policies.lease_s")
    assert (one.value, one.usual) == ("60", "30.0")
    assert one.reason == "An operation that rests so long gives its place back; its steps pass all the same."


def test_what_stands_beside_the_nodes_is_told_by_its_table() -> None:
    assert find(parameters(DEMO), "supervision", "probe_every_s").value == "1.0"
    assert find(parameters(DEMO), "-", "certificate_names").usual == "test"


def test_an_hsm_is_told_where_there_is_one() -> None:
    found = parameters(DEMO)
    assert find(found, "relay-1", "hsm.workers").value == "2"
    assert find(found, "terminal-131016", "hsm").value == ""


def test_a_password_is_not_told() -> None:
    topology = msgspec.structs.replace(DEMO, database=Database(url="postgresql://u:topsecret@h:1/n"))
    assert find(parameters(topology), "database", "url").value == "(an address)"
    assert "topsecret" not in repr(parameters(topology))
