"""A record of an environment: what was told here is read elsewhere, without secrets; what is no record is refused."""

from pathlib import Path

import pytest

from warifu.stack import environment
from warifu.stack.comparison import compare
from warifu.stack.errors import TopologyInvalid

WITH_SECRET = """
name = "mine"
[database]
url = "postgresql://warifu:topsecret@db.example:5432/warifu"
[balancer]
kind = "none"
[[node]]
name = "registry"
kind = "registry"
"""


def test_a_record_is_the_environment(tmp_path: Path) -> None:
    here = environment.here("quarter")
    path = tmp_path / "quarter.json"
    path.write_bytes(environment.encoded(here))
    assert environment.told(str(path)) == here
    assert here.machine
    assert compare(environment.told(str(path)), here) == ()


def test_a_record_holds_no_password_and_still_says_that_the_database_is_another(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(WITH_SECRET)
    record = tmp_path / "mine.json"
    record.write_bytes(environment.encoded(environment.here(str(tmp_path / "mine.toml"))))
    assert b"topsecret" not in record.read_bytes()
    assert compare(environment.told(str(record)), environment.told(str(tmp_path / "mine.toml"))) == ()


def test_a_topology_alone_says_nothing_of_a_machine() -> None:
    assert environment.told("demo").machine == {}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"topology": {"name": "x"}}', b"[1]", b"\xff"])
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(TopologyInvalid, match="no record of an environment"):
        environment.told(str(path))
