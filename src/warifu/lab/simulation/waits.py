"""Who waits can be woken: nobody waits for what no one else knows of any more.

A gate that was taken out of its list and never opened, a command that was dropped without a word, a signature nobody
will make because the node is closing: its waiter ends by its deadline alone, or never. No history shows it. So whenever
a wait is given up, and at the end of each node, what is waited for is looked for where somebody could end it: in the
node, and in what those have in hand who can still go on.
"""

import asyncio
import functools
import gc
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from types import AsyncGeneratorType, CellType, CoroutineType, FrameType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

from warifu.lab.simulation.loop import ENDLESS, SimulatedFuture, SimulatedLoop, SimulatedTask

if TYPE_CHECKING:
    from warifu.lab.simulation.world import Machine, World

OURS: Final = ("warifu.nodes.", "warifu.domain.")
"""Rooms whose objects are gone through, and whose code must not wait in vain; ports end their own waits."""
OUR_FILES: Final = ("warifu/nodes/", "warifu/domain/", "warifu/kernel/")
LOCKS: Final = "asyncio/locks.py"
PLAIN: Final = (str, bytes, int, float, type(None))
MOST: Final = 64
"""Larger collections of plain things hold what is remembered."""
NAME: Final = "who waits can be woken"


class Wait:
    """What a task waits for, when that is somebody's word and no timer, no port and no other task."""

    def __init__(self, task: SimulatedTask[Any], frames: Sequence[FrameType], target: object) -> None:
        self.task = task
        self.frames = frames
        self.target = target

    def __str__(self) -> str:
        return f"{self.task.get_name()} at " + " > ".join(frame.f_code.co_qualname for frame in self.frames[-4:])


def given_up(world: "World", future: SimulatedFuture[Any]) -> None:
    """A wait is given up: a violation if nobody could have ended it."""
    task = _waiter(future)
    if task is None or task.process is None or not task.process.alive:
        return
    found = _wait(task)
    if found is None or _in_sight(found):
        return
    machine = next((each for each in world.machines.values() if each.process is task.process), None)
    if machine is None or machine.node is None:
        return
    if found in _in_vain(world.loop, machine, [found]):
        world.violated(NAME, f"{machine.name}: nobody could have ended the wait of {found}")


def check(world: "World", machine: "Machine") -> None:
    """All that wait in a node's process now."""
    if machine.node is None:
        return
    tasks = world.loop.tasks_of(machine.process)
    waits = [found for task in tasks if (found := _wait(task)) is not None and not _in_sight(found)]
    for found in _in_vain(world.loop, machine, waits) if waits else ():
        world.violated(NAME, f"{machine.name}: nobody will end the wait of {found}")


# ---- who waits for what ----------------------------------------------------------------------------------------------


def _waiter(future: asyncio.Future[Any]) -> SimulatedTask[Any] | None:
    for callback, _ in future._callbacks or ():  # noqa: SLF001 - who is woken is told nowhere else
        task = getattr(callback, "__self__", None)
        if isinstance(task, SimulatedTask):
            return task
    return None


def _wait(task: SimulatedTask[Any]) -> Wait | None:
    """None when the task can go on by itself: it is ready, or waits for a timer, a port, or another task."""
    future: object = task._fut_waiter  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    if not isinstance(future, SimulatedFuture) or future.done():
        return None
    frames = list(_frames(task))
    if not frames:
        return None
    where, target = frames[-1].f_code, future
    if where.co_filename.endswith(LOCKS) and len(frames) > 1:
        target = frames[-1].f_locals.get("self", future)
        where = frames[-2].f_code
        if where.co_name in ENDLESS and isinstance(target, asyncio.Event) and _is_nowhere_else(target, frames[-2]):
            return None  # ``await asyncio.Event().wait()``: that it waits for ever is what it says
    return Wait(task, frames, target) if any(part in where.co_filename for part in OUR_FILES) else None


def _is_nowhere_else(event: asyncio.Event, frame: FrameType) -> bool:
    """Whether an event was never given a name."""
    owner = frame.f_locals.get("self")
    named = [*frame.f_locals.values(), *(vars(owner).values() if hasattr(owner, "__dict__") else ())]
    return all(each is not event for each in named)


def _frames(task: SimulatedTask[Any]) -> Iterator[FrameType]:
    """Of all the task is in, outermost first."""
    coro: object = task.get_coro()
    while coro is not None:
        frame: FrameType | None
        if isinstance(coro, CoroutineType):
            frame, following = coro.cr_frame, coro.cr_await
        elif isinstance(coro, AsyncGeneratorType):
            frame, following = coro.ag_frame, coro.ag_await
        else:  # asend() of a generator, or a wrapper: what it drives is not told, but seen
            behind = gc.get_referents(coro)
            following = next((each for each in behind if isinstance(each, CoroutineType | AsyncGeneratorType)), None)
            frame = None
        if frame is not None:
            yield frame
        coro = following


# ---- who could end it ------------------------------------------------------------------------------------------------


def _in_sight(found: Wait) -> bool:
    """The quick look: what is waited for, or what was made for it, hangs from one of those whose methods wait."""
    owners, targets = [], [found.target]
    for frame in found.frames:
        if any(part in frame.f_code.co_filename for part in OUR_FILES):
            for name, value in frame.f_locals.items():
                if name == "self":
                    owners.append(value)
                elif _is_ours(value) and any(each is found.target for each in _values(value)):
                    targets.append(value)
    return any(part is target for owner in owners for part in _near(owner) for target in targets)


def _near(owner: object) -> Iterator[object]:
    for value in _values(owner):
        yield value
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, list | tuple | deque):
            yield from value


def _in_vain(loop: SimulatedLoop, machine: "Machine", waits: Sequence[Wait]) -> list[Wait]:
    """Of these waits, those that end neither by the node's doing, nor by a task's that can go on, nor are about to."""
    tasks = loop.tasks_of(machine.process)
    waiting = {id(wait.task): wait for task in tasks if (wait := _wait(task)) is not None}
    by_target: dict[int, list[Wait]] = {}
    for wait in waiting.values():
        by_target.setdefault(id(wait.target), []).append(wait)
    seen: set[int] = set()
    todo: deque[object] = deque([machine.node, *loop.scheduled(machine.process)])
    todo.extend(value for task in tasks if id(task) not in waiting for value in _in_hand(task))
    while todo:
        thing = todo.popleft()
        if isinstance(thing, PLAIN) or id(thing) in seen:
            continue
        seen.add(id(thing))
        for woken in by_target.pop(id(thing), ()):
            todo.extend(_in_hand(woken.task))
        todo.extend(_parts(thing))
    lost = {id(wait.task) for left in by_target.values() for wait in left}
    return [wait for wait in waits if id(wait.task) in lost]


def _in_hand(task: SimulatedTask[Any]) -> Iterator[object]:
    """What a task that goes on may touch."""
    for frame in _frames(task):
        yield from frame.f_locals.values()


def _parts(thing: object) -> Iterable[object]:
    """What can be reached from a thing, as far as that may be somebody's word."""
    match thing:
        case dict():
            found: Iterable[object] = _small(thing.values())
        case list() | tuple() | deque() | set() | frozenset():
            found = _small(thing)
        case asyncio.Future():
            found = [callback for callback, _ in thing._callbacks or ()]  # noqa: SLF001 - as above
        case MethodType():
            found = (thing.__self__,)
        case FunctionType():
            found = [cell.cell_contents for cell in thing.__closure__ or () if cell != _EMPTY]
        case functools.partial():
            found = (thing.func, *thing.args, *thing.keywords.values())
        case CoroutineType():
            found = () if thing.cr_frame is None else thing.cr_frame.f_locals.values()
        case _:
            found = _values(thing) if _is_ours(thing) else ()
    return tuple(found)


def _small(parts: Collection[object]) -> Iterable[object]:
    return () if len(parts) > MOST and isinstance(next(iter(parts)), PLAIN) else parts


def _values(thing: object) -> Iterable[object]:
    return vars(thing).values() if hasattr(thing, "__dict__") else ()


def _is_ours(thing: object) -> bool:
    kind = type(thing)
    if kind not in _KNOWN:
        _KNOWN[kind] = any(each.__module__.startswith(OURS) for each in kind.__mro__)
    return _KNOWN[kind]


_KNOWN: Final[dict[type, bool]] = {}
_EMPTY: Final = CellType()
