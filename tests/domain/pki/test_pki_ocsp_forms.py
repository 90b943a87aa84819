"""What is read and written by its form is octet for octet what the strict reader and the writer make of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki_testca import NOW_MS, authority, public

from warifu.domain.pki import extensions, ocsp
from warifu.domain.pki.errors import LintFailed, OcspRefused
from warifu.domain.pki.lint_answers import lint_answer
from warifu.domain.pki.ocsp import CertStatus, Good, HashName, OcspRequest, Status, Unknown
from warifu.domain.pki.ocsp_forms import AnswerForm, RequestForms, answer_form, request_form

KEY = public("responder")
CERTIFICATE = bytes(range(256)) * 5
NONCE = bytes(range(16))
OTHER_NONCE = bytes(range(16, 32))


def asked(serial: int, nonce: bytes | None = NONCE, hash_name: HashName = "sha1") -> bytes:
    return ocsp.request([ocsp.cert_id(authority("signature"), serial, hash_name)], nonce)


def forms_of(*data: bytes) -> RequestForms:
    forms = RequestForms()
    for one in data:
        forms.learn(one, ocsp.parse_request(one))
    return forms


def line(request: OcspRequest, status: Status) -> CertStatus:
    return CertStatus(cert_id=request.cert_ids[0], status=status, this_update_ms=NOW_MS, next_update_ms=NOW_MS + 60_000)


def form_for(serial: int = 0x01000001, status: Status | None = None, nonce: bytes | None = NONCE) -> AnswerForm:
    request = ocsp.parse_request(asked(serial, nonce))
    return answer_form(KEY, CERTIFICATE, NOW_MS, line(request, status or Good()), nonce)


# ---- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
@pytest.mark.parametrize("nonce", [None, NONCE, bytes(1), bytes(32), bytes(128)])
def test_another_of_a_known_form_is_read_as_the_strict_reader_reads_it(
    hash_name: HashName, nonce: bytes | None
) -> None:
    forms = forms_of(asked(0x01000001, nonce, hash_name))
    other = asked(0x7FA50002, nonce and bytes(len(nonce) - 1) + b"\xa5", hash_name)
    assert forms.read(other) == ocsp.parse_request(other)


@given(st.integers(0, len(asked(0x01000001)) - 1), st.integers(1, 255))
def test_whatever_octet_differs_it_is_read_as_the_strict_reader_reads_it_or_left_to_it(place: int, flip: int) -> None:
    changed = bytearray(asked(0x01000001))
    changed[place] ^= flip
    found = forms_of(asked(0x01000001)).read(bytes(changed))
    if found is not None:
        assert found == ocsp.parse_request(bytes(changed))


@pytest.mark.parametrize("octets", ["ff000001", "00000001", "80000001"])
def test_a_serial_that_is_negative_or_padded_is_left_to_the_strict_reader(octets: str) -> None:
    plain = asked(0x01000001)
    assert (
        forms_of(plain).read(plain.replace(bytes.fromhex("02040100000" + "1"), bytes.fromhex("0204" + octets))) is None
    )


def test_only_plain_requests_have_a_form() -> None:
    two = ocsp.request([ocsp.cert_id(authority("signature"), serial) for serial in (1, 2)], NONCE)
    assert request_form(two, ocsp.parse_request(two)) is None
    forms = forms_of(two)
    assert forms.read(two) is None
    assert forms.read(b"") is None
    with pytest.raises(OcspRefused):
        ocsp.parse_request(b"")


def test_a_stranger_s_forms_push_out_others_and_no_more_than_so_many_are_kept() -> None:
    forms = RequestForms(limit=2)
    for serial in (1, 0x100, 0x10000, 0x1000000):
        forms.learn(asked(serial), ocsp.parse_request(asked(serial)))
    assert [forms.read(asked(serial)) is not None for serial in (1, 0x100, 0x10000, 0x1000000)] == [
        *(False, False),
        *(True, True),
    ]


# ---- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Good(), Unknown()])
@pytest.mark.parametrize("nonce", [None, NONCE, bytes(32)])
def test_an_answer_by_its_form_is_the_writer_s_octet_for_octet(status: Status, nonce: bytes | None) -> None:
    form = form_for(status=status, nonce=nonce)
    request = ocsp.parse_request(asked(0x01ABCDEF, nonce and nonce[::-1]))
    tbs = form.write(request)
    assert tbs == ocsp.response_tbs(KEY, NOW_MS, [line(request, status)], request.nonce)
    form.check(tbs, request)
    lint_answer(tbs, extensions.key_identifier(KEY), NOW_MS, [line(request, status)], request.nonce)
    signature = bytes(range(256))
    assert form.assemble(tbs, signature) == ocsp.assemble_response(tbs, signature, CERTIFICATE)


REQUEST = ocsp.parse_request(asked(0x01ABCDEF, OTHER_NONCE))
TBS = ocsp.response_tbs(KEY, NOW_MS, [line(REQUEST, Good())], OTHER_NONCE)


def test_every_octet_of_an_answer_is_looked_at() -> None:
    form = form_for()
    form.check(TBS, REQUEST)
    for place in range(len(TBS)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(TBS)
            changed[place] ^= flip
            with pytest.raises(LintFailed):
                form.check(bytes(changed), REQUEST)
    for cut in (TBS[:-1], TBS + b"\x00", b""):
        with pytest.raises(LintFailed):
            form.check(cut, REQUEST)


def test_an_answer_to_another_s_request_is_refused() -> None:
    form = form_for()
    for other in (asked(0x01ABCDEE, OTHER_NONCE), asked(0x01ABCDEF, NONCE), asked(0x01ABCDEF, None)):
        with pytest.raises(LintFailed):
            form.check(TBS, ocsp.parse_request(other))
    foreign = ocsp.request([ocsp.cert_id(authority("authentication"), 0x01ABCDEF)], OTHER_NONCE)
    with pytest.raises(LintFailed):
        form.check(TBS, ocsp.parse_request(foreign))


def test_what_does_not_fit_is_left_to_the_writer() -> None:
    form = form_for()
    assert form.write(ocsp.parse_request(asked(0x0100))) is None
    assert form.write(ocsp.parse_request(asked(0x01000001, bytes(17)))) is None
    assert form.write(ocsp.parse_request(asked(0x01000001, None))) is None


def test_no_form_is_made_of_a_specimen_that_the_lint_refuses() -> None:
    request = ocsp.parse_request(asked(0x01000001))
    wrong = msgspec.structs.replace(line(request, Good()), cert_id=ocsp.cert_id(authority("authentication"), 5))
    twisted = msgspec.structs.replace(wrong, cert_id=msgspec.structs.replace(wrong.cert_id, serial=6))
    with pytest.raises(LintFailed):
        answer_form(KEY, CERTIFICATE, NOW_MS, twisted, NONCE)
