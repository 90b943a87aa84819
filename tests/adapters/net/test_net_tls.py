"""Node certificates."""

import stat
from pathlib import Path

import pytest
from cryptography import x509

from warifu.adapters.net.tls import issue_node_certificate, make_authority, node_name
from warifu.kernel.errors import Fault, NotAllowed


def test_private_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    make_authority(tmp_path)
    tls = issue_node_certificate(tmp_path, "center-1")
    for key in (tmp_path / "node-ca.key", tls.key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_node_certificate_names_the_node_and_its_hosts(tmp_path: Path) -> None:
    make_authority(tmp_path)
    tls = issue_node_certificate(tmp_path, "center-1", ["10.1.2.3", "center.example"])
    certificate = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["center-1.warifu.internal", "localhost", "center.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "10.1.2.3"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(tls.authority.read_bytes()))


def test_an_authority_is_made_once(tmp_path: Path) -> None:
    first = make_authority(tmp_path).read_bytes()
    assert make_authority(tmp_path).read_bytes() == first


def test_an_authority_whose_key_is_another_signs_nothing(tmp_path: Path) -> None:
    make_authority(tmp_path / "a")
    make_authority(tmp_path / "b")
    (tmp_path / "a" / "node-ca.key").write_bytes((tmp_path / "b" / "node-ca.key").read_bytes())
    with pytest.raises(Fault):
        issue_node_certificate(tmp_path / "a", "center-1")


@pytest.mark.parametrize(
    "names",
    [
        (),
        (("DNS", "localhost"),),
        (("DNS", "a.warifu.internal"), ("DNS", "b.warifu.internal")),
        (("URI", "a.warifu.internal"),),
    ],
)
def test_a_certificate_that_does_not_name_exactly_one_node_names_none(names: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(NotAllowed):
        node_name({"subjectAltName": names})
    with pytest.raises(NotAllowed):
        node_name(None)
