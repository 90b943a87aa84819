"""The residents' portal without scripts: apply with a photo, follow, report a loss; what is wrong is said and kept."""

import datetime
import io
import re
from collections.abc import Iterator

import msgspec
import pytest
from PIL import Image
from starlette.testclient import TestClient

from warifu.adapters.portal.app import make_app
from warifu.adapters.portal.photo import SIZE
from warifu.contract.codec import decode_request, encode
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.intake import Apply, FollowApplication, Followed, LossReported, ReportLoss
from warifu.contract.message import Answer
from warifu.domain.applications.loss import HolderUnknown
from warifu.kernel.check_digits import application_id_from
from warifu.kernel.errors import Fault, NotFound, Unavailable
from warifu.lab.simulation.keys import SeededEntropy
from warifu.nodes.base import World
from warifu.nodes.portal import Portal, PortalRules

ID = application_id_from(bytes(16))
BORN = datetime.date(1980, 2, 17)
PHONE = "http://127.0.0.1"


class QuietLog:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, str | float]]] = []

    def info(self, event: str, **fields: str | float) -> None:
        self.lines.append((event, fields))

    trouble = info


class NoonClock:
    def now_ms(self) -> int:
        return 1_775_012_400_000


class Intake:
    """Answers as the real one does, for one application."""

    def __init__(self) -> None:
        self.followed = Followed(application_id=ID, state="form_sent")
        self.findings: tuple[str, ...] = ()
        self.asked: list[tuple[Envelope, msgspec.Struct]] = []
        self.down = False

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        assert destination == "intake"
        if self.down:
            raise Unavailable("intake")
        request = decode_request(envelope.name, envelope.body)
        self.asked.append((envelope, request))
        return Reply(body=encode(self.answer(request)))

    def answer(self, request: msgspec.Struct) -> Answer:
        if isinstance(request, FollowApplication):
            if request.application_id != ID:
                raise NotFound("application")
            return self.followed
        if isinstance(request, ReportLoss):
            if request.birth_date != BORN:
                raise HolderUnknown("no such holder")
            return LossReported(card_state="suspended")
        if isinstance(request, Apply):
            return Followed(application_id=ID, state="received")
        if request.__class__.__name__ == "CheckApplication":
            state = "rejected" if self.findings else "checked"
            return Followed(application_id=ID, state=state, findings=self.findings)  # type: ignore[arg-type]
        raise Fault("not asked by a portal")

    def requests(self) -> list[str]:
        return [type(request).__name__ for _, request in self.asked]


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.fixture
def log() -> QuietLog:
    return QuietLog()


@pytest.fixture
def phone(intake: Intake, log: QuietLog) -> Iterator[TestClient]:
    world = World(name="portal", transport=intake, clock=NoonClock(), entropy=SeededEntropy(1, "portal"), log=log)
    with TestClient(make_app(Portal(world, PortalRules())), base_url=PHONE, follow_redirects=False) as client:
        yield client


def picture(width: int = 900, height: int = 1200, kind: str = "JPEG") -> bytes:
    image = Image.effect_noise((width, height), 60).convert("RGB")
    out = io.BytesIO()
    image.save(out, kind, quality=85)
    return out.getvalue()


def hidden(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
    return {name: value for name, value in found if name != "back"}


def previewed(phone: TestClient, photo: bytes, **fields: str) -> str:
    answer = phone.post("/apply/photo", data={"application_id": ID, **fields}, files={"photo": ("me.jpg", photo)})
    return str(answer.text)


# ---- applying ----------------------------------------------------------------------------------------------------


def test_applying_takes_three_pages(phone: TestClient, intake: Intake) -> None:
    assert 'name="application_id"' in phone.get("/apply").text
    assert 'type="file"' in phone.post("/apply", data={"application_id": ID}).text
    preview = previewed(phone, picture())
    done = phone.post("/apply/send", data=hidden(preview) | {"no_signature": "yes"})
    assert "申請を受け付けました" in done.text
    (applied,) = [request for _, request in intake.asked if isinstance(request, Apply)]
    assert (applied.wants_signature, applied.wants_authentication) == (False, True)
    with Image.open(io.BytesIO(applied.photo)) as sent:
        assert (sent.format, sent.size, len(sent.getexif())) == ("JPEG", SIZE, 0)


def test_sending_twice_is_the_same_request(phone: TestClient, intake: Intake) -> None:
    form = hidden(previewed(phone, picture()))
    phone.post("/apply/send", data=form)
    phone.post("/apply/send", data=form)
    keys = {(e.operation_id, e.step, e.digest()) for e, request in intake.asked if isinstance(request, Apply)}
    assert len(keys) == 1


def test_an_id_may_be_typed_as_it_is_printed(phone: TestClient) -> None:
    spaced = " ".join(ID[at : at + 4] for at in range(0, 23, 4)).translate(
        str.maketrans("0123456789", "０１２３４５６７８９")
    )
    assert 'type="file"' in phone.post("/apply", data={"application_id": spaced}).text


@pytest.mark.parametrize("wrong", ["", "123", ID[:-1] + str((int(ID[-1]) + 1) % 10), "<script>", "9" * 5000])
def test_a_wrong_id_is_said_beside_its_field_and_may_be_corrected(phone: TestClient, wrong: str) -> None:
    answer = phone.post("/apply", data={"application_id": wrong})
    assert answer.status_code == 400
    assert "見つかりません" in answer.text
    assert "<script>" not in answer.text


def test_a_form_in_use_shows_where_it_stands(phone: TestClient, intake: Intake) -> None:
    intake.followed = Followed(application_id=ID, state="accepted", card_state="set_up")
    assert "受け取れます" in phone.post("/apply", data={"application_id": ID}).text


@pytest.mark.parametrize(
    ("upload", "said"),
    [
        (b"", "選ばれていません"),
        (picture(kind="PNG"), "JPEG形式"),
        (picture(300, 400), "小さすぎます"),
        (picture()[:-4000] + b"\x00" * 10, ""),
    ],
)
def test_a_photo_that_cannot_be_used_is_refused_with_the_reason(phone: TestClient, upload: bytes, said: str) -> None:
    assert said in previewed(phone, upload)


def test_what_the_check_finds_is_told_and_the_way_back_is_open(phone: TestClient, intake: Intake) -> None:
    intake.findings = ("photo.blank", "card.already_held")
    done = phone.post("/apply/send", data=hidden(previewed(phone, picture()))).text
    assert "何も写っていない" in done
    assert "すでにカードをお持ちです" in done
    assert 'href="/apply"' in done


# ---- following, a loss -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["ordered", "made", "shipped", "received", "set_up", "in_use", "suspended"])
def test_following_says_how_the_card_does_in_words(phone: TestClient, intake: Intake, state: str) -> None:
    intake.followed = Followed(application_id=ID, state="accepted", card_state=state)
    page = phone.post("/follow", data={"application_id": ID}).text
    assert 'aria-current="step"' in page
    assert f">{state}<" not in page


def loss_form(phone: TestClient, **fields: str) -> dict[str, str]:
    born = {"year": str(BORN.year), "month": str(BORN.month), "day": str(BORN.day)}
    return hidden(phone.get("/loss").text) | {"application_id": ID} | born | fields


def test_a_loss_is_reported_on_one_page(phone: TestClient, intake: Intake) -> None:
    assert "一時停止しました" in phone.post("/loss", data=loss_form(phone)).text
    assert intake.requests() == ["ReportLoss"]


def test_a_wrong_birth_date_says_that_nothing_was_suspended(phone: TestClient) -> None:
    answer = phone.post("/loss", data=loss_form(phone, day="18"))
    assert answer.status_code == 400
    assert "カードは止まっていません" in answer.text


@pytest.mark.parametrize("wrong", [{"month": "13"}, {"day": "x"}, {"year": ""}])
def test_what_is_no_date_is_said_beside_its_field(phone: TestClient, intake: Intake, wrong: dict[str, str]) -> None:
    page = phone.post("/loss", data=loss_form(phone, **wrong)).text
    assert "日付になっていません" in page
    assert f'value="{ID}"' in page
    assert all(f'value="{each}"' in page for each in ({"day": "17"} | wrong).values())
    assert intake.requests() == []


def test_when_nothing_answers_the_page_says_that_sending_again_is_safe(phone: TestClient, intake: Intake) -> None:
    form = loss_form(phone)
    intake.down = True
    answer = phone.post("/loss", data=form)
    assert answer.status_code == 503
    assert "二重に受け付けられることはありません" in answer.text


# ---- guards ------------------------------------------------------------------------------------------------------


def test_english_is_a_click_away_and_stays(phone: TestClient) -> None:
    moved = phone.post("/language", data={"to": "en", "back": "/loss"})
    assert moved.headers["location"] == "/loss"
    assert "Suspend your card" in phone.get("/loss").text
    assert phone.post("/language", data={"to": "ja", "back": "//evil.example"}).headers["location"] == "/"


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_a_form_from_elsewhere_is_refused(phone: TestClient, intake: Intake, headers: dict[str, str]) -> None:
    assert phone.post("/loss", data=loss_form(phone), headers=headers).status_code == 400
    assert intake.asked == []


def test_another_name_in_front_of_the_portal_is_refused(phone: TestClient) -> None:
    assert phone.get("/", headers={"host": "evil.example"}).status_code == 400


def test_a_body_without_end_is_refused(phone: TestClient, intake: Intake) -> None:
    answer = phone.post("/apply/photo", content=b"", headers={"content-length": str(1 << 30)})
    assert answer.status_code == 400
    assert intake.asked == []


def test_the_operation_cannot_be_chosen(phone: TestClient, intake: Intake) -> None:
    assert phone.post("/loss", data=loss_form(phone, operation_id="../../x")).status_code == 400
    assert intake.asked == []


def test_pages_keep_nothing_and_let_nothing_in(phone: TestClient) -> None:
    for path in ("/", "/apply", "/follow", "/loss"):
        page = phone.get(path)
        assert page.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "set-cookie" not in page.headers


def test_what_residents_enter_is_in_no_log_and_in_no_address(phone: TestClient, log: QuietLog) -> None:
    phone.post("/loss", data=loss_form(phone, day="18"))
    phone.post("/apply", data={"application_id": ID})
    assert log.lines == [("portal.refused", {"code": "application.holder_unknown"})]
