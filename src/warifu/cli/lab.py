"""``warifu lab search``: look for the schedule that production would find in a year. Also ``_load``, ``_prove``."""

import argparse
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from warifu.cli import _data, _load, _prove
from warifu.cli._ending import like_ctrl_c
from warifu.cli._files import require_writable
from warifu.cli._prove import BadCount
from warifu.lab.scenarios.catalog import plan_for, removed, scenario_named
from warifu.lab.search.exhaust import Exhausted, exhaust, variants
from warifu.lab.search.page import page
from warifu.lab.search.run import Outcome
from warifu.lab.search.run import run as run_plan
from warifu.lab.search.search import Covered, Report, search
from warifu.lab.search.shrink import shrink
from warifu.lab.search.timeline import timeline
from warifu.lab.simulation.plan import Plan, parse_plan

SUMMARY = "search schedules and faults for one that breaks a promise"
EPILOG = """\
examples:
  warifu lab search --seeds 1000
  warifu lab search --seconds 60 --without idempotency
  warifu lab search --systematic
  warifu lab search --replay counter:17 --without F6 --html story.html

Exit status 3 when a property failed.
"""
DEFAULT_SEEDS = 1000
PROPERTY_FAILED = 3
INTERRUPTED = 130


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Declare ``lab`` and what it can do."""
    parser = subparsers.add_parser("lab", help="the laboratory", description="The laboratory.")
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    finder = what.add_parser(
        "search",
        help=SUMMARY,
        description=SUMMARY,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    finder.add_argument("--seeds", type=int, metavar="N", help=f"runs; {DEFAULT_SEEDS} by default")
    finder.add_argument("--seconds", type=float, metavar="S", help="begin no run after this time")
    finder.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed; 0 by default")
    finder.add_argument("--without", metavar="NAME", help="remove a safeguard, or all against a failure (F1 ...)")
    finder.add_argument("--scenario", default="", metavar="NAME", help="one of them alone; by default all in turn")
    finder.add_argument("--replay", metavar="SEED", help="run this seed (or plan) alone and tell it as a story")
    finder.add_argument("--html", type=Path, metavar="FILE", help="with --replay: the story as a page")
    finder.add_argument(
        "--systematic",
        nargs="?",
        const="",
        metavar="CORE",
        help="instead of seeds: every order of the small cores (or of one) near first in, first out",
    )
    finder.add_argument("--deviations", type=int, default=2, metavar="N", help="with --systematic: 2 by default")
    finder.add_argument("--json", type=Path, metavar="FILE", help="write the result for machines")
    _load.add_to(what)
    _data.add_to(what)
    _prove.add_to(what)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run what was asked for; its exit status."""
    with like_ctrl_c():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    if args.what == "data":
        return _data.run(args)
    if args.what in _load.TESTS:
        return _load.run(args)
    if args.what == "prove":
        return _prove.run(args)
    require_writable(args.json, args.html)
    without = removed(args.without) if args.without else ()
    if args.systematic is not None:
        return _systematic(args)
    if args.scenario:
        scenario_named(args.scenario)
    if args.replay is not None:
        return _replay(args, without)
    return _search(args, without)


def _search(args: argparse.Namespace, without: tuple[str, ...]) -> int:
    seeds = DEFAULT_SEEDS if args.seeds is None and args.seconds is None else args.seeds
    if (seeds is not None and seeds < 1) or (args.seconds is not None and args.seconds <= 0) or args.first < 0:
        raise BadCount("--seeds and --seconds must be more than 0, --first not less")
    sys.stdout.write(f"searching from seed {args.first}\n")
    sys.stdout.flush()
    with _progress() as progress:
        task = progress.add_task("searching", total=seeds, steps="")

        def show(covered: Covered) -> None:
            progress.update(task, completed=covered.seeds, steps=f"{covered.steps:,} steps")

        report = search(
            seeds, seconds=args.seconds, first=args.first, without=without, only=args.scenario, progress=show
        )
    smallest = _smallest(report, without)
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(_result(report, without, smallest))) + b"\n")
    _say(report, args.without, smallest)
    if report.found:
        return PROPERTY_FAILED
    return INTERRUPTED if report.interrupted else 0


_WORDS = ("no", "one", "two", "three", "four")


def _systematic(args: argparse.Namespace) -> int:
    if not 0 <= args.deviations < len(_WORDS):
        raise BadCount(f"--deviations is from 0 to {len(_WORDS) - 1}")
    with _progress() as progress:
        task = progress.add_task("every order", total=variants(args.systematic), steps="")
        found = exhaust(args.systematic, args.deviations, lambda done: progress.update(task, completed=done))
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(_exhausted(found))) + b"\n")
    say = Console(highlight=False, soft_wrap=True).print
    for core in found.cores:
        say(f"{core.name:<8} {core.schedules:>8,} schedules  {core.text}", markup=False)
        for plan, text in core.failures:
            say(f"FAILED {text}\nsee it: warifu lab search --replay {plan}", markup=False)
    within = f"{_WORDS[args.deviations]} deviation{'' if args.deviations == 1 else 's'}"
    if found.failures:
        say(f"{found.schedules:,} schedules in {found.seconds:.1f} s; a schedule within {within} fails")
        return PROPERTY_FAILED
    say(f"{found.schedules:,} schedules in {found.seconds:.1f} s: no schedule within {within} fails")
    return 0


def _exhausted(found: Exhausted) -> dict[str, object]:
    return {
        "deviations": found.deviations,
        "schedules": found.schedules,
        "seconds": round(found.seconds, 3),
        "cores": [msgspec.structs.asdict(core) for core in found.cores],
        "failures": [{"seed": plan, "property": text.partition(":")[0], "text": text} for plan, text in found.failures],
    }


def _smallest(report: Report, without: tuple[str, ...]) -> Outcome | None:
    if not report.found:
        return None
    first = report.found[0]
    plan = Plan(scenario=first.scenario, seed=first.seed, without=without)
    scenario = scenario_named(plan.scenario)
    return shrink(run_plan(plan, scenario), scenario)


def _result(report: Report, without: tuple[str, ...], smallest: Outcome | None) -> dict[str, object]:
    covered = report.covered
    return {
        "seeds": covered.seeds,
        "seconds": round(report.seconds, 3),
        "without": list(without),
        "failures": [
            {
                "seed": found.seed,
                "property": found.property,
                "scenario": found.scenario,
                "plan": f"{found.scenario}:{found.seed}",
                "text": found.text,
            }
            for found in report.found
        ],
        "smallest": smallest.plan.text() if smallest else None,
        "covered": {
            "steps": covered.steps,
            "messages": covered.messages,
            "faults": dict(sorted(covered.faults.items())),
            "collisions": covered.collisions,
            "states": len(covered.states),
        },
        "trace_hash": covered.trace_hash,
    }


def _say(report: Report, removed_name: str | None, smallest: Outcome | None) -> None:
    covered, say = report.covered, Console(highlight=False, soft_wrap=True).print
    say(
        f"{covered.seeds:,} seeds, {covered.steps:,} steps, {covered.messages:,} messages, "
        f"{covered.collisions:,} collisions, {len(covered.states):,} states in {report.seconds:.1f} s "
        f"({covered.steps / max(report.seconds, 0.001):,.0f} steps/s)"
    )
    say("faults: " + (", ".join(f"{kind} {count:,}" for kind, count in sorted(covered.faults.items())) or "none"))
    say(f"trace hash of all: {covered.trace_hash}")
    for found in report.found:
        say(f"FAILED {found.scenario}:{found.seed}: {found.text}", markup=False)
    if smallest is not None:
        option = f" --without {removed_name}" if removed_name else ""
        say(f"see it: warifu lab search{option} --replay {smallest.plan.text()}", markup=False)
    elif report.interrupted:
        say("interrupted; no property had failed")
    else:
        say("no property failed")


def _replay(args: argparse.Namespace, without: tuple[str, ...]) -> int:
    plan = parse_plan(args.replay, without=without)
    if not plan.scenario:
        plan = plan_for(plan.seed, without, args.scenario)
    outcome = run_plan(plan, scenario_named(plan.scenario))
    sys.stdout.write("\n".join(timeline(outcome)) + f"\ntrace hash {outcome.trace_hash}\n")
    if args.html is not None:
        args.html.write_text(page(outcome, f"--without {args.without}" if args.without else ""), "utf-8")
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(_replayed(outcome))) + b"\n")
    return PROPERTY_FAILED if outcome.failure else 0


def _replayed(outcome: Outcome) -> dict[str, object]:
    failure = outcome.failure
    return {
        "plan": outcome.plan.text(),
        "without": list(outcome.plan.without),
        "trace_hash": outcome.trace_hash,
        "steps": outcome.steps,
        "failures": [{"seed": outcome.plan.seed, "property": failure.property, "text": failure.text}]
        if failure
        else [],
        "history": list(outcome.history),
    }


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[steps]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
