"""The vectors were written by the generator and are made again by another writer (``pki_library_twin``)."""

import hashlib

import pytest
from make_golden import GOLDEN, golden_authority, vectors
from pki_library_twin import certificate_like, list_like
from pki_testca import (
    DAY_MS,
    KIYOSE,
    NOW_MS,
    authentication_content,
    paper_key,
    responder_content,
    root_content,
    signature_content,
)

from warifu.domain.pki.names import Kind, Point
from warifu.domain.pki.profile import Content
from warifu.domain.pki.revocation import crl_entry, crl_tbs


@pytest.mark.parametrize("name", sorted(vectors()))
def test_bytes_are_those_of_the_checked_in_vector(name: str) -> None:
    assert vectors()[name].hex() == (GOLDEN / name).read_bytes().hex()


def test_there_is_no_vector_without_a_test() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(vectors())


@pytest.mark.parametrize(
    ("vector", "content"),
    [
        ("root-signature.tbs", root_content()),
        ("signature.tbs", signature_content(public_key=paper_key("holder"))),
        ("authentication.tbs", authentication_content(public_key=paper_key("holder"))),
        ("responder.tbs", responder_content(public_key=paper_key("responder"))),
    ],
)
def test_another_writer_makes_the_same_certificate(vector: str, content: Content) -> None:
    kind: Kind = "authentication" if vector.startswith("authentication") else "signature"
    twin = certificate_like(golden_authority(kind), content)
    assert twin.tbs_certificate_bytes.hex() == (GOLDEN / vector).read_bytes().hex()


@pytest.mark.parametrize("point", [None, KIYOSE])
def test_another_writer_makes_the_same_list(point: Point | None) -> None:
    by = golden_authority("signature")
    reasons = {0x01000001 + index: "superseded" for index in range(200)}
    ours = crl_tbs(
        by,
        number=128,
        this_update_ms=NOW_MS,
        next_update_ms=NOW_MS + DAY_MS,
        entries=[crl_entry(serial, NOW_MS, "superseded") for serial in reasons],
        point=point,
    )
    twin = list_like(by, 128, tuple(reasons), point)
    assert hashlib.sha256(ours).hexdigest() == hashlib.sha256(twin.tbs_certlist_bytes).hexdigest()
