"""The verifiers' edge: paths, credentials and bodies become questions, errors become statuses."""

import json

import pytest

from warifu.adapters.net.checking import verifier_edge
from warifu.adapters.net.http import HttpRequest, HttpResponse
from warifu.contract.authority import SerialStatus
from warifu.contract.values import CertificateKind
from warifu.domain.verifiers.errors import NotAdmitted, OutOfRight
from warifu.kernel.errors import WarifuError
from warifu.nodes.front import Checked, Credential

BEARER = {"authorization": f"Bearer town-bank:{bytes(32).hex()}"}


class Desk:
    """Answers good to everything, or raises."""

    def __init__(self, error: WarifuError | None = None) -> None:
        self.error = error
        self.asked: list[object] = []

    async def check(self, credential: Credential, ca: CertificateKind, serials: tuple[int, ...]) -> Checked:
        self._note(credential, ca, serials)
        return Checked(as_of_ms=5, statuses=tuple(SerialStatus(serial=one, status="good") for one in serials))

    async def fetch(self, credential: Credential, ca: CertificateKind, municipality: str = "") -> bytes:
        self._note(credential, ca, municipality)
        return b"list"

    def _note(self, credential: Credential, *rest: object) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append((credential.verifier_id, credential.secret, *rest))


def post(path: str = "/status/signature", body: bytes = b'{"serials": [3, 1]}', **headers: str) -> HttpRequest:
    return HttpRequest(method="POST", path=path, headers=headers or BEARER, body=body)


async def test_a_check_is_asked_and_answered_in_json() -> None:
    desk = Desk()
    answer = await verifier_edge(desk)(post())
    assert desk.asked == [("town-bank", bytes(32), "signature", (3, 1))]
    assert json.loads(answer.body)["statuses"][0] == {"serial": 3, "status": "good", "reason": "", "revoked_ms": None}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "municipality"), [("/crl/signature.crl", ""), ("/crl/signature/131016.crl", "131016")]
)
async def test_a_list_is_fetched(path: str, municipality: str) -> None:
    desk = Desk()
    answer = await verifier_edge(desk)(HttpRequest(method="GET", path=path, headers=BEARER))
    assert (answer.body, desk.asked) == (b"list", [("town-bank", bytes(32), "signature", municipality)])


@pytest.mark.parametrize("value", ["", "Bearer town-bank", "Basic abc", f"Bearer town-bank:{'0' * 63}"])
async def test_without_a_credential_nothing_is_asked(value: str) -> None:
    desk = Desk()
    answer = await verifier_edge(desk)(post(authorization=value))
    assert (answer.status, answer.headers["www-authenticate"], desk.asked) == (401, "Bearer", [])


@pytest.mark.parametrize(
    ("error", "status"), [(NotAdmitted("no"), 401), (OutOfRight("no"), 403)], ids=["another secret", "another kind"]
)
async def test_what_is_refused_has_its_status_and_code(error: WarifuError, status: int) -> None:
    answer: HttpResponse = await verifier_edge(Desk(error))(post())
    assert (answer.status, answer.body) == (status, f"{error.code}\n".encode())


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (post(body=b"[]"), "request.malformed"),
        (post(body=b'{"serials": []}'), "request.malformed"),
        (post(body=b'{"serials": [-1]}'), "request.malformed"),
        (post(body=b'{"serials": [1], "more": 1}'), "request.malformed"),
        (post(body=b'{"serials": [1], "\xff": 1}'), "request.malformed"),
        (post(body=json.dumps({"serials": list(range(5001))}).encode()), "request.malformed"),
        (post("/status/root"), "record.not_found"),
        (HttpRequest(method="GET", path="/status/signature", headers=BEARER), "record.not_found"),
        (HttpRequest(method="GET", path="/crl/signature/999999.crl", headers=BEARER), "record.not_found"),
    ],
)
async def test_what_is_no_question_is_refused(request_: HttpRequest, code: str) -> None:
    desk = Desk()
    with pytest.raises(WarifuError) as raised:
        await verifier_edge(desk)(request_)
    assert (raised.value.code, desk.asked) == (code, [])
