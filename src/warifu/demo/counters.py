"""People at the counters of a stack: clerks at every terminal, residents at their own screens, and what both do.

Nothing here knows of nodes and messages: only of pages, as people do. What breaks is taken up again as they would.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from warifu.contract.values import OperationKind, PinName
from warifu.demo.clerk import Clerk, Page, TerminalGone
from warifu.demo.errors import Unexpected
from warifu.demo.faults import Faults
from warifu.demo.people import PLACES
from warifu.stack import staff, status
from warifu.stack.home import Home
from warifu.stack.staff import DemoAccount

ROLES: Final = ("clerk", "manager")
"""Who is at a municipality's first terminal, and who at its second."""
PATIENCE_S: Final = 120.0
PAUSE_S: Final = 0.15
CHECKS: Final[dict[str, tuple[str, ...]]] = {
    "delivery": ("notice", "licence", "face"),
    "pin_reset": ("licence", "face"),
}
_STATE: Final = r'<h2 id="state">.*?<span class="tag ([a-z]+)"'
_TROUBLE: Final = r'class="code">[^<]*: ([a-z_.]+)</p>'
_OPERATION: Final = r'href="/work/([0-9A-Z]{26})"'
_ASKED: Final = r'name="operation_id" value="([0-9A-Z]*)"'
_FIELDS: Final = r'<input id="((?:pin|again)_[a-z]+|old)"'

Pins = Mapping[PinName, str]
Form = Mapping[str, str | tuple[str, ...]]


class Counters:
    """The counters of both municipalities.

    Args:
        home: the running stack's.
        faults: what strikes meanwhile; its dice say which terminal takes up what broke.
        account: a role's account at a municipality; the demonstration's own by default.
    """

    def __init__(self, home: Home, faults: Faults, account: Callable[[str, str], DemoAccount] | None = None) -> None:
        self.home = home
        self.faults = faults
        find = account or (lambda place, role: staff.demo_account(home, place, role))
        everyone = [(name, find(place, role)) for place in PLACES for name, role in _terminals(place)]
        self.clerks = {name: self._signed_in(name, who) for name, who in everyone}

    def _signed_in(self, name: str, who: DemoAccount) -> Clerk:
        clerk = Clerk(status.read(self.home).urls[name])
        if not clerk.sign_in(who).ok:
            raise Unexpected(f"{name}: {who.login} cannot sign in")
        clerk.post("/resident-screen")
        return clerk

    def close(self) -> None:
        """Everybody goes home."""
        for clerk in self.clerks.values():
            clerk.close()

    def terminal(self, place: str) -> str:
        """Any terminal of a municipality."""
        return self.faults.dice.choice([name for name, _ in _terminals(place)])

    # ---- work that is recorded ---------------------------------------------------------------------------------------

    def perform(
        self, kind: OperationKind, place: str, card: str, pins: Pins | None = None, reset: tuple[PinName, ...] = ()
    ) -> str:
        """An operation, whatever strikes: taken up again at any terminal of the municipality until it is over.

        Returns:
            The operation's id.

        Raises:
            Unexpected: it was refused, or did not end.
        """
        terminal = self.terminal(place)
        deadline = time.monotonic() + PATIENCE_S
        form: Form = {"kind": kind, "card_id": card, "check": CHECKS.get(kind, ()), "pin": reset}
        with self.faults.during(f"{kind} begun", terminal, self.clerks[terminal]):
            operation = self._begun(terminal, card, form)
            self._settle(terminal, operation)
        begun = 1
        while time.monotonic() < deadline:
            operation = operation or self._found(terminal, card)
            if not operation:
                operation = self._begun(terminal, card, form)
                begun += 1
            state = self._state(terminal, operation) if operation else ""
            if state == "done" or (state == "refused" and begun > 1):
                return operation  # refused: the first beginning, of which nothing was heard, came to its end
            if state in {"refused", "abandoned"}:
                raise Unexpected(f"{kind} is {state}: {self._trouble(terminal, operation)}")
            if state in {"pins", "proof"}:
                self._resident(terminal, card, operation, pins or {}, state)
            elif state in {"broken", "unknown", "busy"}:
                terminal = self.terminal(place)
                self._taken_up(terminal, card, operation)
            elif not state:
                terminal = self.terminal(place)
            time.sleep(PAUSE_S)
        raise Unexpected(f"{kind} is {self._state(terminal, operation) or 'not shown'} after {PATIENCE_S:g} s")

    def _begun(self, terminal: str, card: str, form: Form) -> str:
        """The operation begun; "" when nothing was heard of it."""
        self._try(terminal, "/reader/lay", {"card_id": card})
        page = self._try(terminal, "/work", form)
        return page.path.removeprefix("/work/") if page and page.path.startswith("/work/0") else ""

    def _found(self, terminal: str, card: str) -> str:
        """Open work on the card, as its page shows it."""
        page = self._try(terminal, f"/card/{card}")
        return page.find(_OPERATION) if page and page.ok else ""

    def _state(self, terminal: str, operation: str) -> str:
        page = self._try(terminal, f"/work/{operation}")
        return page.find(_STATE) if page and page.ok else ""

    def _trouble(self, terminal: str, operation: str) -> str:
        page = self._try(terminal, f"/work/{operation}")
        return page.find(_TROUBLE) if page else ""

    def _settle(self, terminal: str, operation: str) -> None:
        """Wait until the run is over, as far as this terminal can tell."""
        deadline = time.monotonic() + PATIENCE_S
        while operation and time.monotonic() < deadline and self._state(terminal, operation) == "running":
            time.sleep(PAUSE_S / 3)

    def _taken_up(self, terminal: str, card: str, operation: str) -> None:
        """Go on with it at this terminal."""
        self._try(terminal, "/reader/lay", {"card_id": card, "back": operation})
        self._try(terminal, f"/work/{operation}/resume", {})

    # ---- the resident ------------------------------------------------------------------------------------------------

    def _resident(self, terminal: str, card: str, operation: str, pins: Pins, state: str) -> None:
        """The resident enters what is asked for; asked anew where the question was lost."""
        page = self._try(terminal, "/resident")
        if not page or page.find(_ASKED) != operation:
            self._taken_up(terminal, card, operation)
            return
        with self.faults.during(f"{state} entered", terminal, self.clerks[terminal]):
            self._enter(terminal, page, pins)
            self._settle(terminal, operation)

    def _enter(self, terminal: str, page: Page, pins: Pins, old: str = "") -> Page | None:
        fields = {name: old if name == "old" else _pin(name, pins) for name in page.all(_FIELDS)}
        return self._try(terminal, "/resident", {**fields, "operation_id": page.find(_ASKED)})

    def change_pin(self, place: str, card: str, pin: PinName, old: str, new: str) -> None:
        """The resident changes a PIN. After a break they know as little as anybody which one counts, and try both."""
        deadline = time.monotonic() + PATIENCE_S
        terminal, known = self.terminal(place), old
        while time.monotonic() < deadline:
            self._try(terminal, "/reader/lay", {"card_id": card})
            self._try(terminal, f"/card/{card}/change-pin", {"pin": pin})
            page = self._try(terminal, "/resident")
            if page is None or 'id="old"' not in page.text:
                terminal = self.terminal(place)
                time.sleep(PAUSE_S)
                continue
            with self.faults.during(f"change of the {pin} PIN", terminal, self.clerks[terminal]):
                after = self._enter(terminal, page, {pin: new}, known)
            if after is not None and after.ok and 'id="old"' not in after.text:
                return
            if after is not None and "残り" in after.text and after.status == 400:  # noqa: PLR2004 - a wrong PIN
                known = new if known == old else old
            time.sleep(PAUSE_S)
        raise Unexpected(f"the {pin} PIN is not changed after {PATIENCE_S:g} s")

    # ---- what is asked once, and again when nothing was heard --------------------------------------------------------

    def until(self, what: str, place: str, path: str, form: Form, shown: str) -> None:
        """Send a form until a page shows it done.

        Args:
            what: for the fault and the error.
            place: the municipality.
            path: where the form goes.
            form: its fields; the card of ``card_id`` is laid on the reader before.
            shown: a pattern on the page that is led to.
        """
        deadline = time.monotonic() + PATIENCE_S
        struck = False
        while time.monotonic() < deadline:
            terminal = self.terminal(place)
            if not struck:
                struck = True
                with self.faults.during(what, terminal, self.clerks[terminal]):
                    page = self._try(terminal, path, form)
            else:
                page = self._try(terminal, path, form)
            if page is not None and page.ok and page.find(f"({shown})"):
                return
            time.sleep(PAUSE_S * 2)
        raise Unexpected(f"{what}: not done after {PATIENCE_S:g} s")

    def receive(self, place: str) -> None:
        """Every box on its way is counted in."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            terminal = self.terminal(place)
            page = self._try(terminal, "/shipments")
            boxes = page.all(r'name="batch_id" value="([0-9A-Z]{26})"') if page is not None and page.ok else ()
            if page is not None and page.ok and not boxes:
                return
            for box in boxes[:1]:
                with self.faults.during("receiving", terminal, self.clerks[terminal]):
                    self._try(terminal, "/shipments", {"batch_id": box})
            time.sleep(PAUSE_S)
        raise Unexpected(f"boxes are not counted in after {PATIENCE_S:g} s")

    def approved_end(self, place: str, card: str) -> None:
        """A clerk asks for the end of a card that is not there, a manager approves; each looks before asking again."""
        deadline = time.monotonic() + PATIENCE_S
        asking, deciding = (name for name, _ in _terminals(place))
        pattern = rf'href="/card/{card}".*?action="/approvals/([0-9A-Z]{{26}})"'
        while time.monotonic() < deadline:
            page = self._try(deciding, "/approvals")
            found = page.find(pattern) if page is not None and page.ok else ""
            if found:
                with self.faults.during("approval", deciding, self.clerks[deciding]):
                    self._try(deciding, f"/approvals/{found}", {"decision": "grant"})
            elif page is not None and page.ok:
                view = self._try(asking, f"/card/{card}")
                if view is not None and 'tag">廃止<' in view.text:
                    return
                with self.faults.during("approval asked", asking, self.clerks[asking]):
                    self._try(asking, f"/card/{card}/abolish", {"reason": "lost"})
            time.sleep(PAUSE_S)
        raise Unexpected(f"the card's end is not approved after {PATIENCE_S:g} s")

    def _try(self, terminal: str, path: str, form: Form | None = None) -> Page | None:
        """A page, or a form sent; None when the terminal does not answer now."""
        clerk = self.clerks[terminal]
        try:
            return clerk.get(path) if form is None else clerk.post(path, form)
        except TerminalGone:
            return None


def _terminals(place: str) -> tuple[tuple[str, str], ...]:
    return tuple(zip((f"terminal-{place}", f"terminal-{place}-2"), ROLES, strict=True))


def _pin(name: str, pins: Pins) -> str:
    return next((value for pin, value in pins.items() if name.endswith(f"_{pin}")), "")
