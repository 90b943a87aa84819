"""What an attacker tries, over bare HTTP: none of it works, and each is refused for its own reason."""

import pytest
from screens_kit import FIRST, OTHER, SECOND, THERE, Client, Stack

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def clerk(stack: Stack) -> Client:
    client = Client(stack.url())
    assert client.sign_in(stack.new_staff()).status == 303
    return client


def test_every_page_forbids_foreign_scripts_frames_and_keeping(clerk: Client) -> None:
    for path in ("/", "/sign-in", "/resident", "/tray"):
        headers = clerk.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"


def test_nothing_is_shown_to_who_is_not_signed_in(stack: Stack) -> None:
    stranger = Client(stack.url())
    for path in ("/", "/tray", "/work", f"/card/{stack.cards()[0]}", "/audit", "/events"):
        answer = stranger.get(path)
        assert (answer.status, answer.headers["location"]) == (303, "/sign-in")


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        (False, {}),
        (True, {"Origin": "http://evil.example"}),
        (True, {"Sec_Fetch_Site": "cross-site"}),
        (True, {"Origin": "null"}),
    ],
)
def test_a_form_from_elsewhere_changes_nothing(
    stack: Stack,
    clerk: Client,
    token: bool,  # noqa: FBT001 - a parameter of the test
    headers: dict[str, str],
) -> None:
    clerk.get("/")
    card = stack.cards()[0]
    answer = clerk.post("/reader/lay", {"card_id": card}, token=token, **headers)
    assert answer.status == 403
    assert "screens.forged_form" in answer.text
    assert card not in clerk.get("/").text


def test_another_persons_token_does_not_serve(stack: Stack, clerk: Client) -> None:
    other = Client(stack.url())
    other.sign_in(stack.new_staff())
    stolen = other.token
    clerk.get("/")
    assert stolen != clerk.token
    answer = clerk.post("/reader/lay", {"card_id": stack.cards()[0], "form_token": stolen}, token=False)
    assert answer.status == 403


def test_another_municipalitys_resident_is_not_shown_whatever_the_address(stack: Stack, clerk: Client) -> None:
    card = stack.cards(THERE)[0]
    person = stack.holder(card).person
    for path in (f"/card/{card}", f"/card/{card}/face", f"/card/{card}/checks/delivery"):
        answer = clerk.get(path)
        assert answer.status == 404
        assert person.name not in answer.text
    clerk.get("/")
    assert clerk.post(f"/card/{card}/suspend", {}).status == 404
    clerk.get("/")
    assert clerk.post(f"/card/{card}/revoke", {"certificate": "signature", "documents": "seen"}).status == 404
    clerk.get("/")
    assert person.address not in clerk.post("/search", {"asked": person.name}).text


def test_a_stolen_cookie_serves_at_no_other_terminal(stack: Stack, clerk: Client) -> None:
    for terminal in (SECOND, OTHER):
        thief = Client(stack.url(terminal))
        thief.cookies = {f"warifu-{terminal}": clerk.cookies[f"warifu-{FIRST}"]}
        assert thief.get("/").headers["location"] == "/sign-in"


def test_a_login_is_worth_nothing_after_signing_out(stack: Stack) -> None:
    client = Client(stack.url())
    client.sign_in(stack.new_staff())
    kept = dict(client.cookies)
    client.post("/sign-out", {})
    client.cookies = kept
    assert client.get("/").headers["location"] == "/sign-in"


def test_a_cookie_chosen_by_somebody_else_is_not_made_a_login(stack: Stack) -> None:
    client = Client(stack.url())
    client.cookies[f"warifu-{FIRST}"] = "chosen"
    client.sign_in(stack.new_staff())
    assert client.cookies[f"warifu-{FIRST}"] != "chosen"


def test_a_code_works_once_and_guesses_make_the_account_wait(stack: Stack) -> None:
    account = stack.new_staff()
    client = Client(stack.url())
    assert client.sign_in(account).status == 303
    client.cookies.clear()
    assert Client(stack.url()).sign_in(account).status == 403
    wrong = account.__class__(
        municipality=account.municipality,
        login=account.login,
        name=account.name,
        role=account.role,
        password="wrong",
        totp=account.totp,
    )
    answers = [Client(stack.url()).sign_in(wrong) for _ in range(6)]
    assert all(answer.status == 403 for answer in answers)
    assert "しばらくサインインできません" in answers[-1].text


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "' OR 1=1 --", '"><img src=x>', "{{7*7}}", "${7*7}"])
def test_what_is_entered_is_shown_as_text_or_not_at_all(clerk: Client, evil: str) -> None:
    clerk.get("/")
    for form in ({"asked": evil}, {"asked": "", "birth_date": evil}):
        text = clerk.post("/search", form).text
        assert evil not in text
        assert "49" not in text
    assert clerk.post("/reader/lay", {"card_id": evil}).status == 400
    assert clerk.post("/work", {"kind": evil, "card_id": evil}).status == 400
    shown = clerk.get(f"/work/{evil.replace('/', '')}".replace(" ", "%20")).text
    assert "49" not in shown
    assert "<" not in evil or evil not in shown


def test_nobody_is_sent_to_another_site(clerk: Client) -> None:
    for back in ("//evil.example", "https://evil.example", "/\\evil.example"):
        assert clerk.post("/language", {"to": "ja", "back": back}).headers["location"] == "/"


def test_a_clerk_reads_no_trail_and_an_auditor_touches_no_card(stack: Stack, clerk: Client) -> None:
    assert clerk.get("/audit").status == 403
    auditor = Client(stack.url())
    auditor.sign_in(stack.new_staff("auditor"))
    assert auditor.get("/tray").status == 403
    assert auditor.get(f"/card/{stack.cards()[0]}").status == 403


def test_every_look_stands_in_the_auditors_trail(stack: Stack, clerk: Client) -> None:
    card = stack.cards()[0]
    assert clerk.get(f"/card/{card}").status == 200
    auditor = Client(stack.url())
    auditor.sign_in(stack.new_staff("auditor"))
    text = auditor.get("/audit").text
    assert stack.holder(card).resident_id in text
    assert "住民情報の閲覧" in text


def test_who_asked_does_not_approve(stack: Stack) -> None:
    card = stack.cards()[-1]
    asking, deciding = Client(stack.url()), Client(stack.url())
    asking.sign_in(stack.new_staff("manager"))
    deciding.sign_in(stack.new_staff("manager"))
    asking.post(f"/card/{card}/abolish", {"reason": "lost"})
    assert "承認して廃止する" not in asking.get("/approvals").text
    page = deciding.get("/approvals").text
    path = page.partition('action="/approvals/')[2].partition('"')[0]
    assert asking.post(f"/approvals/{path}", {"decision": "grant"}).status == 403
    assert deciding.post(f"/approvals/{path}", {"decision": "refuse"}).status == 303


def test_a_resident_screen_that_is_paired_with_nobody_asks_for_nothing(stack: Stack) -> None:
    stranger = Client(stack.url())
    assert "窓口につながっていません" in stranger.get("/resident").text
    stranger.cookies[f"warifu-resident-{FIRST}"] = "00" * 32 + ".forged"
    assert "窓口につながっていません" in stranger.get("/resident").text
    assert stranger.post("/resident", {"pin_juki": "1234"}).headers["location"] == "/sign-in"


def test_another_hosts_name_is_not_answered(stack: Stack) -> None:
    assert Client(stack.url()).get("/sign-in", Host="evil.example").status == 400
