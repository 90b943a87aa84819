"""One run: a plan and a scenario in, what came of it out."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from msgspec import Struct

from warifu.kernel.errors import WarifuError
from warifu.lab.checking import check
from warifu.lab.history import Event
from warifu.lab.scenarios.scenario import Scenario, Trial
from warifu.lab.simulation import cancelled
from warifu.lab.simulation.guarded import guarded
from warifu.lab.simulation.loop import SimulatedLoop
from warifu.lab.simulation.order import Deviating, Order, drawn
from warifu.lab.simulation.plan import Plan
from warifu.lab.simulation.seal import sealed
from warifu.lab.simulation.small_limits import small_limits
from warifu.lab.simulation.world import PropertyFailed, World

MAX_STEPS = 200_000
HEAL_MS = 180_000
"""Virtual time after the storm within which everything must have converged."""
LOOK_MS = 50
WAITING_SHOWN = 1_000
PREPARED = "the main job is done where nothing goes wrong"
UNEXPECTED = "no error but those of the tree"
CONVERGES = "everything converges after the storm"


class Failure(Struct, frozen=True):
    """A property that failed, or another error that ended the run (then ``property`` is its code)."""

    property: str
    text: str


class Outcome(Struct, frozen=True):
    """What came of a run."""

    plan: Plan
    failure: Failure | None
    trace_hash: str
    steps: int
    messages: int
    collisions: int
    faults: dict[str, int]
    struck: int
    states: tuple[bytes, ...]
    history: tuple[Event, ...]
    virtual_ms: int


def run(plan: Plan, scenario: Scenario, order: Order | None = None, *, max_steps: int = MAX_STEPS) -> Outcome:
    """Run a plan to its end or its first failure.

    Args:
        plan: everything the run depends on.
        scenario: the one the plan names.
        order: instead of the one drawn from the seed.
        max_steps: more are a failure.
    """
    unprepared = _prepared(scenario)
    if unprepared is not None:
        return Outcome(plan, unprepared, "", 0, 0, 0, {}, 0, (), (), 0)
    chosen = order or _order(plan)
    loop = SimulatedLoop(chosen, max_steps)
    failure: Failure | None = None
    with _uncollected(), sealed(), small_limits(plan.seed, tight=plan.tight):
        world = World(loop, plan, scenario.properties())
        try:
            with guarded(world), cancelled.watched(world):
                loop.run_until_complete(_main(world, scenario))
        except PropertyFailed as error:
            failure = Failure(error.name, str(error))
        except WarifuError as error:
            failure = Failure(error.code, str(error))
        except Exception as error:  # noqa: BLE001 - whatever else node code raises is what was looked for
            failure = Failure(UNEXPECTED, f"{UNEXPECTED}: {_innermost(error)}")
        finally:
            trace_hash = loop.trace_hash()
            loop.close()
    return _outcome(world, failure, trace_hash)


def _innermost(error: BaseException) -> str:
    """The error itself, out of the groups that task groups put around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _order(plan: Plan) -> Order:
    if plan.order is not None:
        return Deviating(dict(plan.order))
    return drawn(Random(f"{plan.seed}/order"))  # noqa: S311 - repeatable on purpose


def _prepared(scenario: Scenario) -> Failure | None:
    """Make what runs begin with; when that fails without any fault, no run is needed to say so."""
    try:
        scenario.prepare()
    except WarifuError as error:
        return Failure(PREPARED, f"{PREPARED}: {error.code} {error}")
    except Exception as error:  # noqa: BLE001 - as above
        return Failure(PREPARED, f"{PREPARED}: {_innermost(error)}")
    return None


def _outcome(world: World, failure: Failure | None, trace_hash: str) -> Outcome:
    return Outcome(
        plan=world.plan,
        failure=failure,
        trace_hash=trace_hash,
        steps=world.loop.steps,
        messages=world.network.messages,
        collisions=world.loop.collisions,
        faults=dict(Counter(world.faults)),
        struck=world.dice.struck,
        states=tuple(sorted(world.states)),
        history=tuple(world.history),
        virtual_ms=world.loop.now_ms,
    )


async def _main(world: World, scenario: Scenario) -> None:
    trial = scenario.build(world)
    world.state = trial.state
    driving = asyncio.create_task(trial.drive(), name="drive")
    await world.storm()
    world.heal()
    await _converge(world, trial, driving)
    await driving
    await trial.conclude()
    await world.end_all()
    world.loop.check_retrieved()
    cancelled.check(world)
    world.check_end()
    for violation in check(world.history):
        raise PropertyFailed(violation.promise, violation.text)


async def _converge(world: World, trial: Trial, driving: asyncio.Task[None]) -> None:
    """Everything is answered, settled and still; what is late has time to arrive."""
    end_ms = world.loop.now_ms + world.lasts_ms + HEAL_MS
    await asyncio.wait({driving}, timeout=(world.lasts_ms + HEAL_MS) / 1000)
    while not (driving.done() and trial.settled() and world.quiet):
        if world.loop.now_ms > end_ms:
            waiting = "; ".join(world.loop.waiting())[:WAITING_SHOWN]
            raise PropertyFailed(CONVERGES, f"not within {HEAL_MS} ms; waiting: {waiting}")
        await asyncio.sleep(LOOK_MS / 1000)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: it would run clean-up code at moments that no seed chooses."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
