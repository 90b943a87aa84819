"""What must hold of the way from counter to centre: CS and relay."""

from collections import Counter, defaultdict
from typing import Final

from warifu.domain.admission.rules import Limits
from warifu.kernel.errors import TryAgain
from warifu.lab.history import Event
from warifu.lab.properties import Property, codes

FORWARD: Final = "relay.forward"
KEY: Final = "relay.key"
CONFIRM: Final = "center.confirm"
ALARM: Final = "trouble relay.limit_passed"
ALARM_EVERY_MS: Final = 10_000
ROUNDED_MS: Final = 1
PAUSE_MS: Final = 100
"""The shortest pause of a CS after a try for what is left over failed."""
FULL: Final = 10.0
EARNED_BY_SUCCESS: Final = 0.1
"""The promise: a tenth of a token for each success, one for each retry. Said again here, so that a change is seen."""
ROUNDING: Final = 1e-9
_RESTARTS: Final = frozenset({"crash", "stop", "crash_before_commit", "crash_after_commit"})


def _is_cs(event: Event) -> bool:
    return event.node.startswith("cs-")


def _died(event: Event) -> bool:
    return event.kind == "fault" and event.outcome in _RESTARTS


class CsOrder:
    """In a CS the messages of one card go one after another, in the order in which they came; others pass.

    What a CS did not bring to an end (it died, or whoever asked had no more time) it may send later: before any message
    of the card that came after it, and never behind one.
    """

    name = "order per card in the CS"

    def __init__(self) -> None:
        self._lanes: defaultdict[tuple[str, str], list[tuple[tuple[str, str], str]]] = defaultdict(list)
        self._left: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)

    def see(self, event: Event) -> str | None:
        """Only the oldest message of a card may leave."""
        if _died(event):
            for place in [place for place in self._lanes if place[0] == event.node]:
                self._left[place] += [request for request, _ in self._lanes.pop(place)]
        if not _is_cs(event) or not event.ordering_key:
            return None
        place = (event.node, event.ordering_key)
        lane = self._lanes[place]
        if event.kind == "begin":
            lane.append((event.request, event.detail))
        elif event.kind == "reply" and (event.request, event.detail) in lane:
            lane.remove((event.request, event.detail))
            if event.outcome != "ok":
                self._left[place].append(event.request)
        elif event.kind == "send" and event.name == FORWARD:
            return self._sent(event, lane, self._left[place])
        return None

    @staticmethod
    def _sent(event: Event, lane: list[tuple[tuple[str, str], str]], left: list[tuple[str, str]]) -> str | None:
        if event.request in left:
            del left[: left.index(event.request)]  # what it overtook may not be sent any more
            return None
        if lane and lane[0][0] == event.request:
            left.clear()
            return None
        first = lane[0][0][1] if lane else "it came"
        return f"{event.node} sent {event.step} of {event.ordering_key} before {first}"

    def end(self) -> str | None:
        """Nothing waits."""
        left = [place for place, lane in self._lanes.items() if lane]
        return f"{left[0][0]} still has messages of {left[0][1]}" if left else None


class NeverBlocked:
    """A CS gives a message up for its own sake alone: it was tried, or its time was up."""

    name = "no CS blocked"

    def __init__(self) -> None:
        self._begun: dict[tuple[str, tuple[str, str]], int] = {}
        self._tried: dict[tuple[str, tuple[str, str]], None] = {}
        self._keys: Counter[str] = Counter()

    def see(self, event: Event) -> str | None:
        """An error of the CS's own needs a reason."""
        if event.kind == "reply" and event.name == FORWARD and event.peer.startswith("cs-"):
            self._tried[event.peer, event.request] = None  # whatever the relay says is encrypted
        elif event.kind == "reply" and event.name == KEY and event.outcome != "ok":
            self._keys[event.peer] += 1
        if not _is_cs(event):
            return None
        place = (event.node, event.request)
        match event.kind:
            case "begin":
                self._begun[place] = self._keys[event.node]
            case "fail" if event.name == KEY:
                self._keys[event.node] += 1
            case "reply" if event.name == KEY:
                return None
            case "fail":
                self._tried[place] = None
            case "reply" if event.outcome == "part.unavailable":
                return self._discarded(event, place)
        return None

    def _discarded(self, event: Event, place: tuple[str, tuple[str, str]]) -> str | None:
        if place in self._tried or self._keys[event.node] > self._begun.get(place, 0):
            return None
        return f"{event.node} discarded {event.name} {event.step}, which it had not tried"

    def end(self) -> str | None:
        """Nothing more."""
        return None


class OnlyCsRetries:
    """A message is sent again by a CS, an outbox, or who asked in the first place: by nobody in between."""

    name = "only the CS retries"

    def __init__(self) -> None:
        self._nodes: dict[str, None] = {}
        self._begun: Counter[tuple[str, str, str]] = Counter()
        self._sent: Counter[tuple[str, str, str, str]] = Counter()
        self._left: dict[tuple[str, str, str], None] = {}
        """Messages of an outbox, which sends until it is answered."""

    def see(self, event: Event) -> str | None:
        """As often as it came, and no more."""
        if event.kind == "outbox":
            self._left[event.peer, event.operation_id, event.step] = None
        if event.kind == "begin":
            self._begun[event.node, *event.request] += 1
            self._nodes[event.node] = None
        if event.kind != "send" or event.node not in self._nodes or _is_cs(event):
            return None
        if event.step == "health" or (event.peer, *event.request) in self._left:
            return None
        cause = event.step if event.node.startswith("relay") else event.step.rpartition(":")[0]
        sending = (event.node, event.peer, *event.request)
        self._sent[sending] += 1
        came = self._begun[event.node, event.operation_id, cause]
        if self._sent[sending] <= came:
            return None
        return f"{event.node} sent {event.name} {event.step} {self._sent[sending]} times; its cause came {came} times"

    def end(self) -> str | None:
        """Nothing more."""
        return None


class RetryBudget:
    """A CS retries from its budget: so many tokens at its start, a tenth more for each answer.

    What nobody waits for any more (left over after a kill, or when the caller's time was up) is delivered at a pace of
    its own and is no retry.
    """

    name = "retries stay within their budget"

    def __init__(self) -> None:
        self._tokens: defaultdict[str, float] = defaultdict(lambda: FULL)
        self._first: Counter[tuple[str, str, str]] = Counter()
        """Sendings that are no retries: one for each time the message came."""
        self._awaited: Counter[tuple[str, str, str]] = Counter()
        self._left: set[tuple[str, str, str]] = set()
        self._again: dict[tuple[str, str, str], None] = {}
        """What was sent again in this instant."""
        self._at_ms = 0

    def see(self, event: Event) -> str | None:
        """Count what a CS sends again; judged when the instant is over."""
        if event.at_ms != self._at_ms:
            self._at_ms = event.at_ms
            if found := self.end():
                return found
        self._count(event)
        return None

    def _count(self, event: Event) -> None:
        if _died(event):
            self._tokens.pop(event.node, None)
            for message in [message for message in self._awaited if message[0] == event.node]:
                self._left.add(message)
                del self._awaited[message]
        if not _is_cs(event) or event.name == KEY or event.step == "health":
            return
        message = (event.node, *event.request)
        if event.kind == "begin":
            self._first[message] += 1
            self._awaited[message] += 1
        elif event.kind == "reply":
            self._awaited[message] -= 1
            if event.outcome != "ok" and event.name == CONFIRM:
                self._left.add(message)
                if message in self._again:  # delivered as left over, in the instant in which its caller is answered
                    self._tokens[event.node] += 1
            # Without the budget's cap: a retry is paid for before its wait and seen after it.
            self._tokens[event.node] += EARNED_BY_SUCCESS
        elif event.kind == "send" and self._first[message]:
            self._first[message] -= 1
        elif event.kind == "send" and self._awaited[message] > 0 and message not in self._left:
            self._tokens[event.node] -= 1
            self._again[message] = None

    def end(self) -> str | None:
        """Judge an instant that is over, the last one too."""
        nodes = (node for node, _, _ in self._again)
        broke = next((node for node in nodes if self._tokens[node] < -ROUNDING), None)
        self._again.clear()
        return broke and f"{broke} retries without budget"


class Admission:
    """Who is let in and who is refused is as ``domain.admission`` says; steps of an operation are never refused.

    Reads what the relays' doors tell: outcome ``admitted`` or ``refused``, detail what comes (``step``, ``opening``, or
    ``yields``: an opening that leaves its place to others who wait), its class, and operations admitted by class.
    """

    name = "a delivery waits behind no more set-ups than the limits say"

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def see(self, event: Event) -> str | None:
        """Judge the door."""
        if event.kind != "log" or event.outcome not in {"admitted", "refused"}:
            return None
        manner, kind, *counts = event.detail.split()
        delivery, setup, bulk, change = map(int, counts)
        room = manner == "step" or (manner != "yields" and self._has_room(kind, delivery, setup + bulk, change))
        if manner == "yields" and kind not in {"setup", "bulk"}:
            return f"{event.node} lets a {kind} yield to others"
        if room is (event.outcome == "admitted"):
            return None
        return (
            f"{event.node} {event.outcome} {kind} beside {delivery} deliveries, {setup} set-ups, {bulk} bulk, {change}"
        )

    def _has_room(self, kind: str, delivery: int, later: int, change: int) -> bool:
        limits, everyone = self._limits, delivery + later + change
        match kind:
            case "change":
                return everyone < limits.total or change < limits.change_reserve
            case "delivery":
                return delivery + change < limits.total
            case _:
                return everyone < limits.total and later < limits.setup_and_bulk

    def end(self) -> str | None:
        """Nothing more."""
        return None


class FactsTold:
    """What a chip has done, once a CS took it on, is told to the centre whatever becomes of who asked."""

    name = "what a chip has done is told"

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], str] = {}
        self._taken: dict[tuple[str, str], None] = {}
        self._unsure = codes(TryAgain)

    def see(self, event: Event) -> str | None:
        """Taken on: sent once by a CS. Told: the centre answered it, whatever it said."""
        if event.kind == "begin" and _is_cs(event) and event.name == CONFIRM:
            self._taken[event.request] = None
        elif event.kind == "send" and event.name == FORWARD and event.request in self._taken:
            self._open.setdefault(event.request, event.node)
        elif self._is_told(event):
            self._taken.pop(event.request, None)
            self._open.pop(event.request, None)
        return None

    def _is_told(self, event: Event) -> bool:
        replied = event.kind == "reply" and event.node.startswith("center") and event.name == CONFIRM
        return replied and event.outcome not in self._unsure

    def end(self) -> str | None:
        """Nothing is untold."""
        if not self._open:
            return None
        (operation_id, step), cs = next(iter(self._open.items()))
        return f"{cs} never told {operation_id}/{step}"


class LeftoverPace:
    """What nobody waits for any more is delivered slowly while nothing gets through."""

    name = "what is left over grows to no storm"

    def __init__(self) -> None:
        self._awaited: Counter[tuple[str, str, str]] = Counter()
        self._failed_ms: dict[str, int] = {}

    def see(self, event: Event) -> str | None:
        """A pause after each try that failed."""
        if _died(event):
            self._failed_ms.pop(event.node, None)
            for message in [message for message in self._awaited if message[0] == event.node]:
                del self._awaited[message]
        if not _is_cs(event):
            return None
        message = (event.node, *event.request)
        if event.kind == "begin":
            self._awaited[message] += 1
        elif event.kind == "reply":
            self._awaited[message] -= 1
        elif event.kind in {"fail", "send"} and event.name == FORWARD and event.step != "health":
            return self._tried(event, left=self._awaited[message] <= 0)
        return None

    def _tried(self, event: Event, *, left: bool) -> str | None:
        if not left:
            return None
        if event.kind == "fail":
            self._failed_ms[event.node] = event.at_ms
            return None
        pause_ms = event.at_ms - self._failed_ms.get(event.node, -PAUSE_MS)
        return f"{event.node} tries the next after {pause_ms} ms" if pause_ms < PAUSE_MS else None

    def end(self) -> str | None:
        """Nothing more."""
        return None


class Alarms:
    """A relay that refuses openings tells people at once, and then every ten seconds and no oftener."""

    name = "people are told that a relay refuses"

    def __init__(self) -> None:
        self._told_ms: dict[str, int] = {}

    def see(self, event: Event) -> str | None:
        """Alarms beside refusals."""
        if _died(event):
            self._told_ms.pop(event.node, None)
        if event.kind != "log" or event.outcome not in {ALARM, "refused"}:
            return None
        since_ms = event.at_ms - self._told_ms.get(event.node, -ALARM_EVERY_MS)
        if event.outcome == ALARM:
            self._told_ms[event.node] = event.at_ms
            return f"{event.node} tells again after {since_ms} ms" if since_ms < ALARM_EVERY_MS - ROUNDED_MS else None
        return f"{event.node} has been silent for {since_ms} ms" if since_ms > ALARM_EVERY_MS + ROUNDED_MS else None

    def end(self) -> str | None:
        """Nothing more."""
        return None


def of_the_way(limits: Limits) -> tuple[Property, ...]:
    """All that must hold of the way from counter to centre, fresh."""
    return (
        CsOrder(),
        NeverBlocked(),
        OnlyCsRetries(),
        RetryBudget(),
        Admission(limits),
        FactsTold(),
        LeftoverPace(),
        Alarms(),
    )
