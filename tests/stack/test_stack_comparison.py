"""Two environments, compared: what differs is named with what a test does not show; what does not matter is not."""

import msgspec
import pytest

from warifu.stack import comparison
from warifu.stack.comparison import Difference
from warifu.stack.environment import Environment
from warifu.stack.topology import Admission, Balancer, Database, Hsm, Node, Policies, Supervision, Topology, load

DEMO = load("demo")


def changed(node_name: str, **fields: object) -> Topology:
    """The demonstration's topology with one node changed."""
    nodes = (msgspec.structs.replace(node, **fields) if node.name == node_name else node for node in DEMO.node)
    return msgspec.structs.replace(DEMO, node=tuple(nodes))


def compare(here: Topology, there: Topology) -> tuple[Difference, ...]:
    return comparison.compare(Environment(here), Environment(there))


def only(differences: tuple[Difference, ...]) -> Difference:
    assert len(differences) == 1, differences
    return differences[0]


def test_an_environment_does_not_differ_from_itself() -> None:
    assert compare(DEMO, DEMO) == ()


def test_names_ports_and_municipalities_are_no_difference() -> None:
    other = changed("cs-131016", name="cs-011002", municipality="011002", port=7001, http_port=0)
    assert compare(DEMO, msgspec.structs.replace(other, name="other", demo_staff=False)) == ()


def test_one_of_a_kind_shows_nothing_of_what_happens_when_one_of_several_fails() -> None:
    one = msgspec.structs.replace(DEMO, node=tuple(node for node in DEMO.node if node.name != "relay-2"))
    found = only(compare(one, DEMO))
    assert (found.where, found.what, found.here, found.there) == ("relay", "processes", "1", "2")
    assert "fails" in found.not_shown


def test_a_kind_that_is_missing_is_never_gone_through() -> None:
    without = msgspec.structs.replace(DEMO, node=tuple(node for node in DEMO.node if node.kind != "portal"))
    assert only(compare(without, DEMO)) == Difference("portal", "processes", "none", "1", "whatever goes through it")
    assert only(compare(DEMO, without)).there == "none"


@pytest.mark.parametrize(
    ("what", "fields", "there"),
    [
        ("HSM", {"hsm": Hsm(kind="softhsm")}, "softhsm, software"),
        ("HSM workers and devices", {"hsm": Hsm(devices=2)}, "2 on 1, 2 on 2"),
        ("limits", {"policies": Policies(total=64)}, "as usual, total=64"),
        ("database", {"database": "postgresql://u:p@h:1/n"}, "its own, the common one"),
    ],
)
def test_what_a_relay_has_is_compared(what: str, fields: dict[str, object], there: str) -> None:
    found = only(compare(DEMO, changed("relay-1", **fields)))
    assert (found.where, found.what, found.there) == ("relay", what, there)


@pytest.mark.parametrize(
    ("where", "fields"),
    [
        ("database", {"database": Database(url="postgresql://u:p@h:1/n")}),
        ("database", {"database": Database(max_connections=300)}),
        ("database", {"database": Database(shared_buffers_mb=512)}),
        ("balancer", {"balancer": Balancer(kind="none")}),
        ("supervision", {"supervision": Supervision(hang_after_s=20.0)}),
        ("certificates", {"certificate_names": "real"}),
    ],
)
def test_what_stands_beside_the_nodes_is_compared(where: str, fields: dict[str, object]) -> None:
    assert only(compare(DEMO, msgspec.structs.replace(DEMO, **fields))).where == where


def test_the_rules_of_2016_are_another_environment() -> None:
    legacy = msgspec.structs.replace(DEMO, admission=Admission(policy="legacy", connections=70))
    assert [(each.what, each.there) for each in compare(DEMO, legacy)] == [("policy", "legacy"), ("connections", "70")]


def test_a_password_in_a_database_s_address_is_not_repeated() -> None:
    secret = Database(url="postgresql://warifu:topsecret@db.example:5432/warifu")
    node = Node(name="registry", kind="registry", database=secret.url)
    said = compare(Topology(name="a", node=(node,)), Topology(name="b", node=(DEMO.node[0],), database=secret))
    assert said
    assert "topsecret" not in repr(said)


def test_machines_are_compared_when_both_are_told() -> None:
    small, large = (Environment(DEMO, {"processors": count, "kernel": "6.1"}) for count in ("2", "64"))
    found = only(comparison.compare(small, large))
    assert (found.where, found.what, found.here, found.there) == ("machine", "processors", "2", "64")
    assert comparison.compare(small, Environment(DEMO)) == ()


def test_what_one_machine_does_not_tell_is_unknown() -> None:
    found = only(comparison.compare(Environment(DEMO, {"kernel": "6.1"}), Environment(DEMO, {"other": "x"})))
    assert (found.what, found.there) == ("kernel", "unknown")
