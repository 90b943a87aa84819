"""Papers at the counter: each from the page where it belongs, for the own residents alone, and seen by the auditor."""

import io
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from playwright.sync_api import APIResponse, Browser, expect
from pypdf import PdfReader
from screens_kit import THERE, WAIT_MS, Clerk, Client, Stack, enter_pins, set_up_tray, sign_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

MINE = 4
"""The card of these tests; the others are for the operations."""


@pytest.fixture(scope="module")
def clerk(stack: Stack, browser: Browser) -> Clerk:
    clerk = sign_in(browser, stack.url(), stack.new_staff())
    set_up_tray(clerk)
    return clerk


@pytest.fixture(scope="module")
def delivered(stack: Stack, clerk: Clerk) -> str:
    """A card that was handed over; the clerk sees the end of the work."""
    card = stack.cards()[MINE]
    screen = clerk.resident()
    clerk.deliver(card)
    enter_pins(screen)
    clerk.until("done")
    screen.close()
    return card


FIELDS = "form => new URLSearchParams(new FormData(form, form.querySelector('button'))).toString()"


def printed(clerk: Clerk, path: str, **instead: str) -> APIResponse:
    """What the page's own form with this address brings, with these fields instead of its own."""
    fields = parse_qsl(clerk.page.locator(f'form[action="{path}"]').first.evaluate(FIELDS))
    fields = [(name, instead.get(name, value)) for name, value in fields]
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return clerk.context.request.post(clerk.url + path, data=urlencode(fields), headers=kind)


def text(answer: APIResponse) -> str:
    assert answer.status == 200, answer.text()
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"].startswith("inline")
    assert answer.headers["cache-control"] == "no-store"
    pages = PdfReader(io.BytesIO(answer.body())).pages
    return "".join(page.extract_text() for page in pages).replace("\n", "").replace(" ", "").replace("　", "")


def name_of(stack: Stack, card: str) -> str:
    return stack.holder(card).person.name.replace("　", "").replace(" ", "")


def test_the_notices_of_a_tray_are_printed_in_a_row(stack: Stack, clerk: Clerk) -> None:
    clerk.go("/deliveries")
    said = text(printed(clerk, "/papers/notices"))
    assert name_of(stack, stack.cards()[MINE]) in said
    clerk.lay(stack.cards()[MINE])
    assert name_of(stack, stack.cards()[MINE]) in text(printed(clerk, "/papers/notices"))


def test_the_receipt_is_printed_where_the_delivery_ends(stack: Stack, clerk: Clerk, delivered: str) -> None:
    said = text(printed(clerk, "/papers/receipt"))
    assert delivered in said
    assert name_of(stack, delivered) in said
    assert "利用者証明用電子証明書" in said


def test_appended_particulars_say_what_the_register_says(stack: Stack, clerk: Clerk, delivered: str) -> None:
    clerk.go(f"/card/{delivered}")
    answer = printed(clerk, "/papers/particulars", skip="3")
    assert stack.holder(delivered).person.address.replace("　", "") in text(answer)
    for skip in ("4", "-1", "x"):
        assert printed(clerk, "/papers/particulars", skip=skip).status == 400


def test_a_paper_that_is_not_due_is_refused(clerk: Clerk, delivered: str) -> None:
    clerk.go(f"/card/{delivered}")
    token = clerk.page.locator("[name=form_token]").first.input_value()
    for path, form in (
        ("/papers/notices", {"card_id": delivered}),
        ("/papers/receipt", {"operation_id": "01KN3FQJZ44G9WM4NKF40TFVNT"}),
    ):
        answer = clerk.context.request.post(clerk.url + path, form={"form_token": token, **form})
        assert answer.status in {403, 404}


def test_who_lost_the_card_for_good_gets_a_new_form(stack: Stack, clerk: Clerk, delivered: str) -> None:
    resident = stack.holder(delivered).resident_id
    clerk.lay(delivered)
    token = clerk.page.locator("[name=form_token]").first.input_value()
    form: dict[str, str | float | bool] = {"form_token": token, "resident_id": resident, "reason": "lost"}
    refused = clerk.context.request.post(clerk.url + "/papers/application-form", form=form)
    assert "application.card_held" in refused.text()
    clerk.page.get_by_text("廃止・返納").click()
    clerk.press("カードを廃止する")
    clerk.until("done")
    clerk.go(f"/card/{delivered}")
    first = text(printed(clerk, "/papers/application-form"))
    assert name_of(stack, delivered) in first
    assert text(printed(clerk, "/papers/application-form")) == first
    clerk.go("/")
    clerk.page.fill("#asked", stack.holder(delivered).person.name)
    clerk.press("探す")
    expect(clerk.page.get_by_text("交付申請書の再発行").first).to_be_visible(timeout=WAIT_MS)


def test_another_municipalitys_papers_are_not_printed(stack: Stack, clerk: Clerk) -> None:
    client = Client(stack.url())
    client.sign_in(stack.new_staff())
    card = stack.cards(THERE)[0]
    resident = stack.holder(card).resident_id
    for path, form in (
        ("/papers/notices", {"card_id": card}),
        ("/papers/particulars", {"card_id": card, "what": "address"}),
        ("/papers/application-form", {"resident_id": resident, "reason": "lost"}),
    ):
        answer = client.post(path, form)
        assert answer.status == 404
        assert stack.holder(card).person.name not in answer.text
        client.get("/")
        assert client.post(path, form, token=False).status == 403
    del clerk


@pytest.mark.parametrize("evil", ["' OR 1=1 --", "#panic(1)", "<script>alert(1)</script>", "../../etc/passwd", "\x00"])
def test_what_is_no_choice_of_the_page_is_refused(stack: Stack, evil: str) -> None:
    client = Client(stack.url())
    client.sign_in(stack.new_staff())
    assert client.get(f"/work/{quote(evil, safe='')}").status in {400, 404}
    client.get("/")
    for path, form in (
        ("/search", {"asked": evil[:1] + "\0"}),
        ("/papers/notices", {"card_id": evil}),
        ("/papers/receipt", {"operation_id": evil}),
        ("/papers/particulars", {"card_id": stack.cards()[0], "what": evil}),
        ("/papers/particulars", {"card_id": stack.cards()[0], "what": "address", "skip": evil}),
        ("/papers/application-form", {"resident_id": evil, "reason": "lost"}),
        ("/papers/application-form", {"resident_id": stack.holder(stack.cards()[0]).resident_id, "reason": evil}),
    ):
        answer = client.post(path, form)
        assert answer.status in {400, 404}, path
        assert evil not in answer.text
        client.get("/")


def test_each_print_stands_in_the_auditors_trail(stack: Stack, delivered: str) -> None:
    auditor = Client(stack.url())
    auditor.sign_in(stack.new_staff("auditor"))
    trail = auditor.get("/audit").text
    for action in ("交付通知書の印刷", "受領書の印刷", "追記欄の印刷", "交付申請書の印刷"):
        assert action in trail
    assert stack.holder(delivered).resident_id in trail
    assert auditor.post("/papers/notices", {"card_id": delivered}).status == 403
