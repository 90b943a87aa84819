"""What must hold of every history. One checker for simulated and real runs: it reads events and nothing else.

A property is shown each event as it happens and asked for a last word at the end, when everything has healed. It
answers None, or says in one line what is wrong.
"""

from collections import defaultdict
from typing import Protocol

from warifu.contract.codec import REQUESTS
from warifu.kernel.errors import KeyReused, Refused, WarifuError
from warifu.lab.history import Event

OF_MANY = frozenset(
    {
        *("issuance.run", "center.card_data", "center.personalise", "terminal.receive", "authority.issue_batch"),
        "center.new_form",
    }
)
"""What changes something under keys of its parts (a card, a batch's part, what another node is asked for on its
behalf): records and that node guard it, not the message's key."""


OPEN_APPLET = "authority.open_applet"
"""Holds key pairs, so it is made anew each time, and no more once its card write has ended."""
OF_NOBODY = frozenset({"center.shipped"})
"""Messages that concern no single card or resident."""


class Property(Protocol):
    """Something that must hold."""

    @property
    def name(self) -> str:
        """As ``lab search`` prints it."""

    def see(self, event: Event) -> str | None:
        """What is wrong as of this event."""

    def end(self) -> str | None:
        """What is wrong in the end."""


class OneEffect:
    """A request has its effect exactly once at the node that answers it: never twice, and surely if it was answered."""

    name = "one effect per request"

    def __init__(self) -> None:
        self._effects: set[tuple[str, str, str]] = set()
        self._answered: dict[tuple[str, str, str], str] = {}

    def see(self, event: Event) -> str | None:
        """Never twice."""
        key = (event.node, *event.request)
        if event.kind == "effect":
            if key in self._effects:
                return f"{event.node} did {event.operation_id}/{event.step} again"
            self._effects.add(key)
        elif event.kind == "answer" and event.outcome == "ok" and changes(event.name):
            self._answered[event.name.partition(".")[0], event.operation_id, event.step] = event.name
        return None

    def end(self) -> str | None:
        """Answered, so done."""
        missing = [key for key in self._answered if key not in self._effects]
        return f"{len(missing)} answered without effect, e.g. {'/'.join(missing[0])}" if missing else None


class SameAnswer:
    """A request that changes something is answered the same each time it comes."""

    name = "same answer for the same key"

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], str] = {}

    def see(self, event: Event) -> str | None:
        """Compare with the first good reply."""
        if event.kind != "reply" or event.outcome != "ok" or not changes(event.name):
            return None
        first = self._answers.setdefault((event.name, *event.request), event.digest)
        return None if first == event.digest else f"{event.name} {event.operation_id}/{event.step} answered differently"

    def end(self) -> str | None:
        """Nothing more."""
        return None


class CommitFirst:
    """A request that changes something is answered only once its change stands."""

    name = "committed before answered"

    def __init__(self) -> None:
        self._effects: set[tuple[str, str, str]] = set()

    def see(self, event: Event) -> str | None:
        """At each good reply of a node that keeps records."""
        if event.kind == "effect":
            self._effects.add((event.node, *event.request))
        kind = event.node.partition("-")[0]
        if event.kind != "reply" or event.outcome != "ok" or kind != event.name.partition(".")[0]:
            return None
        if not changes(event.name) or (kind, *event.request) in self._effects:
            return None
        return f"{event.node} answered {event.name} {event.operation_id}/{event.step} before it stood"

    def end(self) -> str | None:
        """Nothing more."""
        return None


class OutboxOrder:
    """Messages with one ordering key have their effects in the order of the commits that left them."""

    name = "order per ordering key"

    def __init__(self) -> None:
        self._left: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._queues: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)

    def see(self, event: Event) -> str | None:
        """An effect must be that of the oldest message of its key that has none yet."""
        if event.kind == "outbox" and event.ordering_key:
            queue = (event.peer, event.ordering_key)
            self._left[event.peer, event.operation_id, event.step] = queue
            self._queues[queue].append(event.request)
        elif event.kind == "effect" and (event.node, *event.request) in self._left:
            queue = self._left.pop((event.node, *event.request))
            first = self._queues[queue][0]
            self._queues[queue].remove(event.request)
            if first != event.request:
                return f"{event.node} did {'/'.join(event.request)} before {'/'.join(first)} of {queue[1]}"
        return None

    def end(self) -> str | None:
        """Nothing more: what was lost is ``NothingLost``'s."""
        return None


class InOrder:
    """What concerns a card or a resident is told to others in its order: under an ordering key."""

    name = "what concerns one resident is told in order"

    def see(self, event: Event) -> str | None:
        """At each message left in an outbox."""
        if event.kind != "outbox" or event.ordering_key or event.name in OF_NOBODY:
            return None
        return f"{event.node} left {event.name} without its order"

    def end(self) -> str | None:
        """Nothing more."""
        return None


class StaysAnswered:
    """What was answered once is not refused when it comes again."""

    name = "same answer for the same key"

    def __init__(self) -> None:
        self._answered: set[tuple[str, str, str]] = set()
        self._again: set[tuple[str, str]] = set()
        """What began after it had been answered: a copy that ran beside the first may be told otherwise."""
        self._refusals = codes(Refused) - {KeyReused.code}  # that is another request's answer

    def see(self, event: Event) -> str | None:
        """Of nodes that keep records: the node of the message's own kind."""
        if event.kind not in {"begin", "reply"} or not changes(event.name) or event.name == OPEN_APPLET:
            return None
        if event.node.partition("-")[0] != event.name.partition(".")[0]:
            return None
        key = (event.name, *event.request)
        if event.kind == "begin":
            if key in self._answered:
                self._again.add((event.node, event.detail))
        elif event.outcome == "ok":
            self._answered.add(key)
        elif (event.node, event.detail) in self._again and event.outcome in self._refusals:
            return f"{event.name} {event.operation_id}/{event.step} was answered, and then refused: {event.outcome}"
        return None

    def end(self) -> str | None:
        """Nothing more."""
        return None


class KeysOnce:
    """No node asks for two things under one key: that would be its own fault, and one of them would never be done."""

    name = "a key is used for one request"

    def __init__(self) -> None:
        self._drivers: set[str] = set()
        """Who asks from outside: some do so to see that they are refused."""

    def see(self, event: Event) -> str | None:
        """At each reply that says so."""
        if event.kind == "invoke":
            self._drivers.add(event.node)
        if event.kind != "reply" or event.outcome != KeyReused.code or event.peer in self._drivers:
            return None
        return f"{event.peer} asked {event.node} for another {event.name} as {event.operation_id}/{event.step}"

    def end(self) -> str | None:
        """Nothing more."""
        return None


def codes(root: type[WarifuError]) -> frozenset[str]:
    """Of an error and all below it."""
    return frozenset({root.code}).union(*(codes(each) for each in root.__subclasses__()))


class NothingLost:
    """After healing every request that was begun has its answer, and every message left in an outbox its effect."""

    name = "nothing lost after healing"

    def __init__(self) -> None:
        self._open: dict[tuple[str, str, str], str] = {}

    def see(self, event: Event) -> str | None:
        """Note what begins and what ends."""
        match event.kind:
            case "invoke":
                self._open["answer", event.operation_id, event.step] = event.name
            case "answer":
                self._open.pop(("answer", *event.request), None)
            case "outbox" if changes(event.name):
                self._open[event.peer, event.operation_id, event.step] = event.name
            case "effect":
                self._open.pop((event.node, *event.request), None)
        return None

    def end(self) -> str | None:
        """Nothing is open."""
        if not self._open:
            return None
        (where, operation_id, step), name = next(iter(self._open.items()))
        return f"{len(self._open)} open, e.g. {name} {operation_id}/{step} without {where}"


def changes(name: str) -> bool:
    """Whether a message of this name has one effect under its own key; one nobody knows is taken to have one."""
    kind = REQUESTS.get(name)
    return kind is None or (kind.CHANGES and name not in OF_MANY)


def common() -> tuple[Property, ...]:
    """The properties that hold of every scenario, fresh."""
    return (
        *(OneEffect(), SameAnswer(), StaysAnswered(), CommitFirst(), KeysOnce()),
        *(OutboxOrder(), InOrder(), NothingLost()),
    )
