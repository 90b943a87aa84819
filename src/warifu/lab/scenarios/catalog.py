"""Every scenario, by name, and what can be removed from which."""

from warifu.kernel.errors import NotFound
from warifu.lab.scenarios.calendar import CALENDAR
from warifu.lab.scenarios.ceremony import CEREMONY
from warifu.lab.scenarios.chain import RELAY
from warifu.lab.scenarios.chip import CHIP
from warifu.lab.scenarios.completer import COMPLETER
from warifu.lab.scenarios.cores import CORES
from warifu.lab.scenarios.counter import COUNTER
from warifu.lab.scenarios.days import SOME_DAYS
from warifu.lab.scenarios.factory import FACTORY
from warifu.lab.scenarios.jpki import JPKI
from warifu.lab.scenarios.left import LEFTOVERS
from warifu.lab.scenarios.looks import LOOKS
from warifu.lab.scenarios.pool import POOL
from warifu.lab.scenarios.scenario import Safeguard, Scenario
from warifu.lab.scenarios.signing import SIGNING
from warifu.lab.scenarios.steady import STEADY
from warifu.lab.scenarios.stock import STOCK
from warifu.lab.scenarios.tally import TALLY
from warifu.lab.scenarios.turnstile import DOOR
from warifu.lab.simulation.plan import Plan

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        *(TALLY, POOL, RELAY, COUNTER, FACTORY, JPKI, CALENDAR, SOME_DAYS, DOOR, STOCK, CEREMONY),
        *(LOOKS, LEFTOVERS, CHIP, SIGNING, COMPLETER, STEADY),
    )
}

TURNS = (
    *("counter", "relay", "hsm", "card", "factory", "tally", "lanes", "counter", "relay", "timers"),
    *("counter", "hsm", "outbox", "relay", "jpki", "counter", "factory", "fencing", "days", "card"),
    *("jpki", "tally", "calendar", "hsm", "relay", "timers", "calendar", "jpki", "lanes", "door", "idle"),
    *("left", "looks", "meanwhile", "chip", "signing", "left", "looks", "meanwhile", "chip", "steady"),
    *("completer", "door", "stock", "meanwhile", "ceremony", "meanwhile"),
)
"""Whose turn it is: the larger a scenario, the more there is to find in it; the longest comes least often. Cores too,
in an order by the seed. Forty-seven, a prime: each core comes in all its variants."""


class UnknownName(NotFound):
    """No scenario, safeguard or failure of this name."""

    code = "lab.unknown_name"


def scenario_named(name: str) -> Scenario:
    """The scenario (or core) of this name. ``UnknownName`` if there is none."""
    found = SCENARIOS.get(name) or CORES.get(name)
    if found is None:
        raise UnknownName(f"no scenario {name[:40]!r}; there are: {', '.join((*SCENARIOS, *CORES))}")
    return found


def removed(name: str) -> tuple[str, ...]:
    """The safeguards meant by a name: one of them, or all that guard against a failure (``F1`` ...).

    Raises:
        UnknownName: neither.
    """
    found = {guard.name: None for guard in _safeguards() if name == guard.name or name in guard.failures}
    if not found:
        known = sorted({known for guard in _safeguards() for known in (guard.name, *guard.failures)})
        raise UnknownName(f"no safeguard {name[:40]!r}; there are: {', '.join(known)}")
    return tuple(found)


def searchable(without: tuple[str, ...]) -> tuple[str, ...]:
    """The scenarios that have one of these safeguards; all when nothing is removed."""
    return tuple(
        scenario.name
        for scenario in (*SCENARIOS.values(), *CORES.values())
        if not without or any(guard.name in without for guard in scenario.safeguards)
    )


def plan_for(seed: int, without: tuple[str, ...], only: str = "") -> Plan:
    """The plan of a bare seed: scenarios take turns, unless only one is meant."""
    if only:
        chosen = scenario_named(only).name
    else:
        names = searchable(without)
        turns = [name for name in TURNS if name in names]
        chosen = turns[seed % len(turns)]
    if chosen in CORES:
        return Plan(scenario=chosen, seed=seed, faults=(), tight=True)
    return Plan(scenario=chosen, seed=seed, without=without)


def _safeguards() -> list[Safeguard]:
    return [guard for scenario in SCENARIOS.values() for guard in scenario.safeguards]
