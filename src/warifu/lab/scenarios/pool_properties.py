"""What must hold of an HSM pool and its workers, read from the history."""

from typing import Final

from warifu.lab.history import Event
from warifu.nodes.hsm_pool import PoolLimits

HURRY_MS = 1
"""An instant may pass between a deadline and what follows from it."""

SESSION: Final = "OpenMessageSession"
"""Asked on the way to another command."""
GIVEN: Final = frozenset({"command", "beside"})
"""A worker got the command: to do it now, or after those that it got together with it."""


class Fenced:
    """A worker that does not answer in time is out of rotation at once; it gets nothing more, and one thing at a time.

    Args:
        limits: the pool's.
        size: how many workers may live at once.
    """

    name = "a stalled HSM is out of rotation in time"

    def __init__(self, limits: PoolLimits, size: int) -> None:
        self._limits = limits
        self._size = size
        self._asked: dict[str, tuple[str, int, str]] = {}
        self._killed: dict[str, None] = {}
        self._alive: dict[str, None] = {}

    def see(self, event: Event) -> str | None:
        """Every event is an occasion to see who is late."""
        for worker, (name, due_ms, kind) in self._asked.items():
            if event.at_ms > due_ms:
                return f"{name} #{worker} still has {kind} {event.at_ms - due_ms} ms after its deadline"
        return self._of_worker(event) if event.kind == "hsm" else None

    def _of_worker(self, event: Event) -> str | None:
        worker = event.step
        match event.outcome:
            case "spawn":
                self._alive[worker] = None
                if len(self._alive) > self._size:
                    return f"{len(self._alive)} workers live in {self._size} places"
            case "command":
                if worker in self._killed:
                    return f"{event.node} #{worker} was asked after it was fenced"
                if worker in self._asked:
                    return f"{event.node} #{worker} was asked {event.name} while it still had a command"
                self._asked[worker] = event.node, event.at_ms + self._deadline_ms(event.name) + HURRY_MS, event.name
            case "answer":
                self._asked.pop(worker, None)
            case "kill":
                self._asked.pop(worker, None)
                self._killed[worker] = None
                self._alive.pop(worker, None)
        return None

    def _deadline_ms(self, command: str) -> int:
        if command == "CreateKey":
            return self._limits.creation_deadline_ms
        if command == "SelfTest":
            return self._limits.self_test_deadline_ms
        return self._limits.command_deadline_ms

    def end(self) -> str | None:
        """A closed pool leaves no worker behind."""
        return f"{len(self._alive)} workers were left behind" if self._alive else None


class Proved:
    """A living worker proves itself at least as often as the limits say, however much work there is for it."""

    name = "a worker proves itself"

    def __init__(self, limits: PoolLimits) -> None:
        self._every_ms = limits.self_test_every_ms
        # A self-test waits for the command under way, which may have to open a message session first.
        self._most_ms = limits.self_test_every_ms + 3 * limits.command_deadline_ms + limits.self_test_deadline_ms
        self._proved: dict[str, tuple[str, int]] = {}
        self._begun: dict[str, str] = {}
        """By worker: what it was asked last."""
        self._beside: dict[str, set[str]] = {}
        """By worker: what it got together with another, by digest."""

    def see(self, event: Event) -> str | None:
        """Every event is an occasion."""
        for worker, (name, at_ms) in self._proved.items():
            if event.at_ms - at_ms > self._most_ms:
                return f"{name} #{worker} did not prove itself for {event.at_ms - at_ms} ms"
        if event.kind == "hsm":
            if event.outcome == "kill":
                self._proved.pop(event.step, None)
            elif event.outcome == "answer" and event.name == "SelfTest":
                self._proved[event.step] = event.node, event.at_ms
            elif event.outcome == "beside":
                self._beside.setdefault(event.step, set()).add(event.digest)
            elif event.outcome == "command":
                return self._begins(event, event.step)
        return None

    def _begins(self, event: Event, worker: str) -> str | None:
        """Whose self-test is due begins no other work."""
        before, self._begun[worker] = self._begun.get(worker, ""), event.name
        beside = self._beside.get(worker, set())
        if event.digest in beside:
            beside.discard(event.digest)
            return None
        _, proved_ms = self._proved.get(worker, ("", event.at_ms))
        late_ms = event.at_ms - proved_ms - self._every_ms
        if late_ms <= HURRY_MS or SESSION in {before, event.name} or event.name == "SelfTest":
            return None
        return f"{event.node} #{worker} begins {event.name}, {late_ms} ms after it was to prove itself"

    def end(self) -> str | None:
        """Nothing more."""
        return None


class SlowOut:
    """A worker that answers slowly all the time leaves while others are well (the pool's own measure, plus a round)."""

    name = "a slow HSM is out of rotation in time"
    COMMANDS = 40

    def __init__(self, limits: PoolLimits) -> None:
        self._bound_ms = limits.slow_median_ms
        self._patience_ms = 3 * limits.self_test_every_ms + limits.self_test_deadline_ms
        self._began: dict[str, int] = {}
        self._slow: dict[str, list[int]] = {}
        self._quick: dict[str, list[int]] = {}

    def see(self, event: Event) -> str | None:
        """Time each answer."""
        if event.kind != "hsm":
            return None
        worker = event.step
        if event.outcome == "command":
            self._began[worker] = event.at_ms
        elif event.outcome == "kill":
            self._slow.pop(worker, None)
            self._quick.pop(worker, None)
        elif event.outcome == "answer":
            return self._timed(event, worker, event.at_ms - self._began.get(worker, event.at_ms))
        return None

    def _timed(self, event: Event, worker: str, took_ms: int) -> str | None:
        mine, other = (self._slow, self._quick) if took_ms > self._bound_ms else (self._quick, self._slow)
        other.pop(worker, None)
        since = mine.setdefault(worker, [])
        since.append(event.at_ms)
        if mine is not self._slow or len(since) < self.COMMANDS or event.at_ms - since[0] < self._patience_ms:
            return None
        well = [quick for quick in self._quick.values() if len(quick) >= self.COMMANDS and quick[0] <= since[0]]
        return f"{event.node} #{worker} was slow {len(since)} times running" if well else None

    def end(self) -> str | None:
        """Nothing more."""
        return None


class CallsEnd:
    """Each caller hears within its time: an answer, or an error that says so."""

    name = "every wait ends by its deadline"

    def __init__(self) -> None:
        self._due: dict[str, int] = {}

    def see(self, event: Event) -> str | None:
        """Every event is an occasion."""
        for step, due_ms in self._due.items():
            if event.at_ms > due_ms:
                return f"{step} waits {event.at_ms - due_ms} ms after its deadline"
        if event.kind == "invoke" and event.peer == "hsm":
            self._due[event.step] = event.at_ms + int(event.detail)
        elif event.kind == "answer" and event.peer == "hsm":
            due_ms = self._due.pop(event.step, 0)
            if event.outcome == "deadline.passed" and event.at_ms < due_ms:
                return f"{event.step} was told of its deadline {due_ms - event.at_ms} ms too early"
        return None

    def end(self) -> str | None:
        """All have heard."""
        return f"{len(self._due)} callers never heard, e.g. {next(iter(self._due))}" if self._due else None


class ReturnedFirst:
    """What a fenced worker left comes before what waits: a command is not overtaken because its worker was ill."""

    name = "what a fenced worker left comes first"

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        """By the command's digest: who waits for it."""
        self._asked: dict[str, str] = {}
        self._working: dict[str, dict[str, None]] = {}
        """By worker: what it was given."""
        self._begun: set[str] = set()
        """Given to some worker already: one that lacked its session goes again, from the head too."""
        self._left: dict[str, int] = {}
        """Since when: in its first instant its caller may be about to hear that it is given up."""

    def see(self, event: Event) -> str | None:
        """Follow each command from its caller to workers."""
        if event.kind == "invoke" and event.peer == "hsm":
            self._asked[event.step] = event.digest
            self._waiting[event.digest] = event.step
        elif event.kind == "answer" and event.peer == "hsm":
            digest = self._asked.pop(event.step, "")
            self._waiting.pop(digest, None)
            self._left.pop(digest, None)
            self._begun.discard(digest)
        elif event.kind == "hsm":
            return self._of_worker(event)
        return None

    def _of_worker(self, event: Event) -> str | None:
        worker, digest = event.step, event.digest
        if event.outcome == "kill":
            for left in self._working.pop(worker, {}):
                if left in self._waiting:
                    self._left[left] = event.at_ms
        elif event.outcome in GIVEN and digest in self._waiting and digest not in self._working.get(worker, {}):
            for given in self._working.values():
                given.pop(digest, None)
            self._working.setdefault(worker, {})[digest] = None
            again = digest in self._begun
            self._begun.add(digest)
            if digest in self._left:
                del self._left[digest]
            elif not again and any(since_ms < event.at_ms for since_ms in self._left.values()):
                return f"{event.node} #{worker} began {event.name} before what a fenced worker left"
        elif event.outcome == "answer" and event.name == "SelfTest":
            self._working.pop(worker, None)
        return None

    def end(self) -> str | None:
        """Nothing more."""
        return None


class AttemptsUsed:
    """A command is given up only after it cost as many workers as it may, and then it is."""

    name = "its work is done elsewhere"

    def __init__(self, attempts: int) -> None:
        self._attempts = attempts
        self._tried: dict[str, dict[str, None]] = {}
        """By the command's digest: the workers that had it."""
        self._cost: dict[str, int] = {}
        """By the command's digest: the workers that were fenced over it, as far as that is sure."""
        self._doing: dict[str, str] = {}
        """By worker: the digest of the last of the callers' commands that it began."""
        self._asked: dict[str, str] = {}

    def see(self, event: Event) -> str | None:
        """Count the workers that had the command: as many as it may cost, no more, and no fewer if it is given up."""
        if event.kind == "hsm":
            return self._of_worker(event, event.step)
        if event.kind == "invoke" and event.peer == "hsm":
            self._asked[event.step] = event.digest
            self._tried[event.digest], self._cost[event.digest] = {}, 0
        elif event.kind == "answer" and event.peer == "hsm":
            digest = self._asked.pop(event.step, "")
            tried = self._tried.pop(digest, {})
            self._cost.pop(digest, None)
            if event.outcome == "hsm.gave_up" and len(tried) < self._attempts:
                return f"{event.step} was given up after {len(tried)} of {self._attempts} workers"
        return None

    def _of_worker(self, event: Event, worker: str) -> str | None:
        if event.outcome == "kill":
            digest = self._doing.pop(worker, "")
            if digest in self._cost:
                self._cost[digest] += 1
        elif event.name == "SelfTest":
            self._doing.pop(worker, None)
        elif event.outcome in GIVEN and event.digest in self._tried:
            self._tried[event.digest][worker] = None
            # One that lacked its session is given to another although the first worker goes on with something else.
            self._doing = {other: doing for other, doing in self._doing.items() if doing != event.digest}
            if event.outcome == "command":
                self._doing[worker] = event.digest
            if self._cost[event.digest] >= self._attempts:
                return f"{event.name} cost {self._cost[event.digest]} workers, {self._attempts} are allowed"
        return None

    def end(self) -> str | None:
        """Nothing more."""
        return None


class Replaced:
    """A fenced worker's place has another after just the pause that the limits say, however its killing goes."""

    name = "a fenced worker is replaced in time"

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._failures: dict[str, int | None] = {}
        """By place: how many in a row; None: not known, since a worker lived just as long as the limits say."""
        self._admitted_ms: dict[str, int] = {}
        self._killed_ms: dict[str, int] = {}
        self._gone_ms: dict[str, int] = {}

    def see(self, event: Event) -> str | None:
        """Follow each place."""
        place = event.node
        if event.kind == "fault" and event.outcome == "hsm_spawn":
            self._failed(place)
            self._killed_ms.pop(place, None)
        elif event.kind == "hsm":
            return self._of_worker(event, place)
        return None

    def _of_worker(self, event: Event, place: str) -> str | None:
        match event.outcome:
            case "answer" if event.name == "SelfTest":
                self._admitted_ms.setdefault(place, event.at_ms)
            case "kill":
                self._killed(event, place)
            case "gone" if place in self._killed_ms:
                self._gone_ms[place] = event.at_ms
            case "starting":
                return self._starting(event, place)
        return None

    def _killed(self, event: Event, place: str) -> None:
        lived_ms = event.at_ms - self._admitted_ms.pop(place, event.at_ms)
        if abs(lived_ms - self._limits.steady_ms) <= HURRY_MS:
            self._failures[place] = None
        elif lived_ms > self._limits.steady_ms:
            self._failures[place] = 0
        else:
            self._failed(place)
        self._killed_ms[place] = event.at_ms
        self._gone_ms.pop(place, None)

    def _failed(self, place: str) -> None:
        failures = self._failures.get(place, 0)
        self._failures[place] = None if failures is None else failures + 1

    def _starting(self, event: Event, place: str) -> str | None:
        killed_ms, failures = self._killed_ms.pop(place, None), self._failures.get(place, 0)
        if killed_ms is None or failures is None:
            return None
        ended_ms = min(self._gone_ms.get(place, event.at_ms), killed_ms + self._limits.kill_deadline_ms)
        pause_ms = min(self._limits.first_pause_ms << (failures - 1), self._limits.longest_pause_ms) if failures else 0
        late_ms = event.at_ms - ended_ms - pause_ms
        return f"{place} after {failures} failures: {late_ms} ms late" if abs(late_ms) > HURRY_MS else None

    def end(self) -> str | None:
        """Nothing more."""
        return None
