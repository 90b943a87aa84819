"""One process kept alive: restarts, back-off, hanging, ends that repeat."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from stack_dummies import gone, until_async

from warifu.contract.health import Health, Part
from warifu.kernel.errors import Unreachable
from warifu.stack.errors import StartFailed
from warifu.stack.keeper import CRASHING_AFTER, PERMANENT_STATUS, Backoff, Keeper, Probe
from warifu.stack.logs import RotatingLog
from warifu.stack.processes import ProcessSpec
from warifu.stack.topology import Supervision

WATCHFUL = Supervision(probe_every_s=0.02, hang_after_s=0.2, start_within_s=10.0, stop_within_s=5.0)


async def well() -> Health:
    return Health(ok=True)


def keeper_of(tmp_path: Path, script: str, probe: Probe = well, backoff: Backoff | None = None) -> Keeper:
    spec = ProcessSpec(name="dummy", argv=(sys.executable, "-S", "-c", script), cwd=tmp_path)
    told: list[tuple[str, str]] = []
    keeper = Keeper(
        spec,
        RotatingLog(tmp_path, "dummy"),
        WATCHFUL,
        probe,
        lambda *one: told.append(one),
        backoff=backoff or Backoff(),
    )
    keeper.told = told  # type: ignore[attr-defined]
    return keeper


@asynccontextmanager
async def kept(keeper: Keeper) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        try:
            yield
        finally:
            await keeper.stop()


SLEEP = "import time; time.sleep(60)"


def test_the_first_restart_is_fast_and_the_next_ones_slower_up_to_a_limit() -> None:
    backoff = Backoff()
    waits = [backoff.after_end(lived_s=0.01, jitter=0.5) for _ in range(12)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == 3.0


def test_jitter_spreads_by_a_quarter_either_way() -> None:
    assert Backoff().after_end(0.01, jitter=0.0) == pytest.approx(0.075)
    assert Backoff().after_end(0.01, jitter=1.0) == pytest.approx(0.125)


def test_a_process_that_lived_long_is_restarted_fast_again() -> None:
    backoff = Backoff(quick_ends=7)
    assert backoff.after_end(lived_s=60.0, jitter=0.5) == 0.1


def test_a_killed_process_comes_back(tmp_path: Path) -> None:
    async def story() -> None:
        keeper = keeper_of(tmp_path, SLEEP)
        async with kept(keeper):
            await keeper.until_healthy()
            first = keeper.pid
            os.kill(first, signal.SIGKILL)
            await until_async(lambda: keeper.healthy and keeper.pid != first)
            assert keeper.restarts == 1
            assert keeper.last_error == "killed by SIGKILL"

    asyncio.run(story())


def test_a_process_that_ends_at_once_again_and_again_is_reported_with_its_last_words(tmp_path: Path) -> None:
    async def story() -> None:
        script = "import sys; print('warifu: port.taken: 7001', file=sys.stderr); sys.exit(1)"

        async def silent() -> Health:
            raise Unreachable("nobody")

        keeper = keeper_of(tmp_path, script, silent, Backoff(first_s=0.001))
        async with kept(keeper):
            with pytest.raises(StartFailed, match=r"dummy: ended with status 1: warifu: port\.taken: 7001"):
                await keeper.until_healthy()
            assert keeper.state == "crashing"
            assert keeper.restarts >= CRASHING_AFTER
            assert [event for event, _ in keeper.told].count("process.crashing") == 1  # type: ignore[attr-defined]

    asyncio.run(story())


def test_a_wrong_configuration_is_not_tried_again_before_it_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        script = f"import sys; print('warifu: config.invalid: gone', file=sys.stderr); sys.exit({PERMANENT_STATUS})"

        async def silent() -> Health:
            raise Unreachable("nobody")

        keeper = keeper_of(tmp_path, script, silent)
        async with kept(keeper):
            with pytest.raises(StartFailed, match=r"config\.invalid: gone"):
                await keeper.until_healthy()
            assert keeper.restarts == 1

    asyncio.run(story())


def test_a_process_that_gives_no_health_answer_any_more_is_killed_and_started_anew(tmp_path: Path) -> None:
    async def story() -> None:
        silent: set[int] = set()

        async def ask() -> Health:
            if keeper.pid in silent:
                await asyncio.sleep(60)
            return Health(ok=True)

        keeper = keeper_of(tmp_path, SLEEP, ask)
        async with kept(keeper):
            await keeper.until_healthy()
            first = keeper.pid
            silent.add(first)
            await until_async(lambda: keeper.healthy and keeper.pid != first)
            assert gone(first)
            assert "process.hung" in [event for event, _ in keeper.told]  # type: ignore[attr-defined]

    asyncio.run(story())


def test_a_process_that_was_told_to_end_and_answers_no_more_is_left_to_end(tmp_path: Path) -> None:
    async def story() -> None:
        script = (
            "import pathlib, signal, sys, time\n"
            "def end(*_):\n"
            f"    time.sleep({3 * WATCHFUL.hang_after_s}); pathlib.Path('whole').touch(); sys.exit(0)\n"
            "signal.signal(signal.SIGTERM, end); print('ready', flush=True)\n"
            "while True: time.sleep(60)"
        )

        async def ask() -> Health:
            if keeper.log.last_text != "ready" or keeper._stopping.is_set():
                raise Unreachable("nobody listens")
            return Health(ok=True)

        keeper = keeper_of(tmp_path, script, ask)
        async with kept(keeper):
            await keeper.until_healthy()
        assert (tmp_path / "whole").exists()
        assert "process.hung" not in [event for event, _ in keeper.told]  # type: ignore[attr-defined]

    asyncio.run(story())


def test_a_process_whose_part_fails_is_shown_as_ailing_and_left_alive(tmp_path: Path) -> None:
    async def story() -> None:
        hsm = [True]

        async def ask() -> Health:
            return Health(ok=hsm[0], parts={"hsm": Part(ok=hsm[0], detail="" if hsm[0] else "no device")})

        keeper = keeper_of(tmp_path, SLEEP, ask)
        async with kept(keeper):
            await keeper.until_healthy()
            first = keeper.pid
            hsm[0] = False
            await until_async(lambda: keeper.state == "ailing")
            assert keeper.last_error == "hsm: no device"
            hsm[0] = True
            await until_async(lambda: keeper.healthy)
            assert keeper.pid == first

    asyncio.run(story())


def test_a_process_that_ignores_being_asked_is_killed_with_its_children(tmp_path: Path) -> None:
    async def story() -> None:
        script = (
            "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
            "print(child.pid, flush=True); time.sleep(60)"
        )
        keeper = keeper_of(tmp_path, script)
        keeper.supervision = Supervision(probe_every_s=0.02, stop_within_s=0.1)
        async with kept(keeper):
            await until_async(lambda: keeper.log.last_text)
            grandchild, child = int(keeper.log.last_text), keeper.pid
        await until_async(lambda: gone(child) and gone(grandchild))

    asyncio.run(story())


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        keeper = keeper_of(tmp_path, "", backoff=Backoff(first_s=0.001))
        keeper.spec = ProcessSpec(name="dummy", argv=("/nowhere/program",), cwd=tmp_path)
        async with kept(keeper):
            with pytest.raises(StartFailed, match=r"program\.missing: dummy: /nowhere/program cannot be run"):
                await keeper.until_healthy()

    asyncio.run(story())
