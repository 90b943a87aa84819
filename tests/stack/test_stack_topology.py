"""topology.toml: what it gives, and how every mistake in it is told."""

from pathlib import Path

import pytest

from warifu.stack import topology
from warifu.stack.compose import profile_of
from warifu.stack.errors import TopologyInvalid

SMALL = """
name = "small"

[[node]]
name = "relay-1"
kind = "relay"
service = "relay"
hsm = { workers = 3 }

[[node]]
name = "cs-131016"
kind = "cs"
municipality = "131016"
"""


def mistake(text: str) -> str:
    with pytest.raises(TopologyInvalid) as caught:
        topology.parse(text, "my.toml")
    assert caught.value.code == "topology.invalid"
    return str(caught.value)


def test_a_topology_gives_nodes_with_defaults_filled_in() -> None:
    parsed = topology.parse(SMALL, "my.toml")
    relay = parsed.find("relay-1")
    assert relay is not None
    assert relay.hsm is not None
    assert (relay.hsm.kind, relay.hsm.workers, relay.token_name, relay.port) == ("software", 3, "relay", 0)
    assert parsed.serving("relay") == (relay,)


def test_the_demo_has_the_whole_chain_and_two_municipalities() -> None:
    demo = topology.load("demo")
    kinds = {node.kind for node in demo.node}
    assert kinds == {
        "registry", "numbering", "intake", "issuance", "authority", "responder", "front", "center", "relay", "cs",
        "terminal", "portal",
    }  # fmt: skip
    assert {node.municipality for node in demo.node if node.kind == "terminal"} == {"131016", "141003"}
    assert len(demo.serving("relay")) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('kind = "cs"', 'kind = "cp"'), "node 'cs-131016', key 'kind': invalid enum value 'cp': use one of registry"),
        (("workers", "wokers"), "node 'relay-1', key 'hsm': unknown key 'wokers': did you mean 'workers'?"),
        (
            ('name = "small"', 'name = "small"\ncolour = 1'),
            "top level: unknown key 'colour': remove it (known: admission, balancer",
        ),
        (("workers = 3", 'workers = "three"'), "node 'relay-1', key 'hsm.workers': expected int, got str: correct"),
        (("workers = 3", "workers = 0"), "node 'relay-1', key 'hsm.workers': expected int >= 1: correct the value"),
        (('kind = "relay"', ""), "node 'relay-1': key 'kind' is missing: add it"),
        (('name = "relay-1"\n', ""), "node number 1: key 'name' is missing: add it"),
        (("cs-131016", "relay-1"), "node 'relay-1': duplicate name: give each node a name of its own"),
        (("relay-1", "postgres"), "node 'postgres': the name is the supervisor's own: choose another"),
        (("relay-1", "north"), "node 'north': its kind is 'relay': begin the name with it, as in relay-1"),
        (('municipality = "131016"', ""), "node 'cs-131016': key 'municipality' is missing: a cs stands in one"),
        (('name = "cs-131016"', 'name = "cs-1"'), "node 'cs-1': its name says where it stands: call it cs-131016"),
        (
            ('name = "cs-131016"\nkind = "cs"', 'name = "terminal-131016"\nkind = "terminal"'),
            "no cs has municipality 131016: add a cs node",
        ),
        (('"relay"\nhsm', '"cs-131016"\nhsm'), "key 'service': 'cs-131016' is a node's name: choose another"),
        (('service = "relay"', ""), "key 'balancer.service': no node serves 'relay': name a service, or set kind"),
        (('name = "small"', "name = small"), "not TOML: Invalid value (at line 2, column 8): correct that line"),
    ],
)
def test_a_mistake_is_told_by_file_key_and_cure(change: tuple[str, str], told: str) -> None:
    message = mistake(SMALL.replace(*change))
    assert message.startswith("my.toml: ")
    assert told in message


def test_two_nodes_cannot_share_a_port() -> None:
    text = SMALL.replace('kind = "relay"', 'kind = "relay"\nport = 7001').replace(
        'kind = "cs"', 'kind = "cs"\nport = 7001'
    )
    assert "node 'cs-131016', key 'port': 7001 is already node 'relay-1''s: choose another" in mistake(text)


def test_set_ups_cannot_take_more_than_everything() -> None:
    text = SMALL.replace("hsm = { workers = 3 }", "policies = { total = 10 }")
    assert "node 'relay-1', key 'policies.setup_and_bulk': it exceeds 'policies.total': lower it" in mistake(text)


def test_nodes_that_share_a_token_have_the_same_device() -> None:
    second = '\n[[node]]\nname = "relay-2"\nkind = "relay"\nservice = "relay"\nhsm = { kind = "softhsm" }\n'
    assert "node 'relay-2', key 'hsm': 'relay-1' has another device under token 'relay'" in mistake(SMALL + second)


def test_a_database_url_is_one_of_postgresql() -> None:
    told = mistake(SMALL + '[database]\nurl = "mysql://x/y"\n')
    assert "key 'database.url': not a PostgreSQL URL: write postgresql://user:password@host:port/name" in told


def test_a_topology_without_nodes_is_none() -> None:
    assert "there is no node: add a [[node]] table" in mistake('name = "x"\nnode = []')


def test_an_unknown_name_tells_the_known_ones() -> None:
    with pytest.raises(TopologyInvalid, match="there is no topology 'quarters': built in are demo"):
        topology.load("quarters")


def test_a_file_that_is_not_there_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(TopologyInvalid, match=r"none\.toml cannot be read: .*No such file.*: give the path"):
        topology.load(str(tmp_path / "none.toml"))


def test_several_processes_of_one_node_share_its_name() -> None:
    text = 'name = "small"\n[balancer]\nkind = "none"\n[[node]]\nname = "cs-131016"\nkind = "cs"\ncount = 2\n'
    parsed = topology.parse(text + 'municipality = "131016"\n', "small.toml")
    assert [node.name for node in parsed.node] == ["cs-131016-1", "cs-131016-2"]
    assert {node.name for node in parsed.serving("cs-131016")} == {"cs-131016-1", "cs-131016-2"}
    assert all(node.count == 1 and node.municipality == "131016" for node in parsed.node)


@pytest.mark.parametrize(("line", "organization"), [("", "Warifu Test"), ('certificate_names = "real"\n', "JPKI")])
def test_the_names_in_certificates_are_a_choice(line: str, organization: str) -> None:
    given = topology.parse(SMALL.replace("[[node]]", f"{line}[[node]]", 1), "small.toml")
    assert profile_of(given).naming.organization == organization


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ('name = "issuance"\nkind = "issuance"\nhsm = { devices = 2 }', "only a relay has two"),
        ('name = "relay-2"\nkind = "relay"\nhsm = { devices = 2, workers = 1 }', "each wants a worker"),
    ],
)
def test_two_devices_are_for_a_relay_with_a_worker_for_each(node: str, said: str) -> None:
    assert said in mistake(f"{SMALL}\n[[node]]\n{node}\n")
