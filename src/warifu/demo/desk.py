"""A PC/SC reader on the table with a card in it: ``python -m warifu.demo.desk HOME CARD_ID``, until it is ended.

Starts pcscd when none runs (only root may), and ends it with itself. Holds ``run/reader`` of the home locked meanwhile
(of the second slot ``run/reader-2``), so that others see which card is in the reader, and whose process holds it.
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from warifu.adapters.clock import SystemClock
from warifu.adapters.reader.files import FileReader
from warifu.adapters.reader.pcscd import Pcscd, is_running
from warifu.adapters.reader.vpcd import DEFAULT_PORT, hold_card
from warifu.kernel.errors import NotAllowed, Unavailable, WarifuError
from warifu.lend.hold import Sink, TracedCard, saved
from warifu.lend.trace import Trace
from warifu.stack.errors import disk_errors, error_line
from warifu.stack.home import Home

INSERT_WITHIN_S: Final = 40.0
EJECT_WITHIN_S: Final = 15.0
_LOOK_EVERY_S: Final = 0.05
_INSERTED: Final = "inserted"


class ReaderOccupied(NotAllowed):
    """A card is in the reader."""

    code = "reader.occupied"


class ReaderEmpty(NotAllowed):
    """No card of this home is in the reader."""

    code = "reader.empty"


class MayNotStart(NotAllowed):
    """No pcscd runs, and this user may not start one."""

    code = "reader.no_pcscd"


class Inserted(Struct, frozen=True):
    """Which card is in the reader, and the process that holds it there."""

    process_id: int
    card_id: str


def state_path(home: Home, slot: int = 1) -> Path:
    """The file that the holding process keeps locked."""
    return home.run / ("reader" if slot == 1 else f"reader-{slot}")


def inserted(home: Home, slot: int = 1) -> Inserted | None:
    """What is in the reader now."""
    try:
        descriptor = os.open(state_path(home, slot), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        words = os.read(descriptor, 100).decode("ascii", "replace").split()
        return Inserted(int(words[0]), words[1]) if len(words) > 1 and words[0].isdigit() else Inserted(0, "")
    finally:
        os.close(descriptor)
    return None


def insert(home: Home, card_id: str, trace: Path | None = None, slot: int = 1) -> None:
    """Put a card into the reader; it stays there, in the background, until ``eject``.

    Args:
        home: whose card.
        card_id: which.
        trace: a file that what is said is appended to.
        slot: of the reader, from 1 (vpcd has two).

    Raises:
        ReaderOccupied: there is one already.
        MayNotStart: pcscd does not run and may not be started.
        Unavailable: the card is in use, or pcscd or vpcd does not take it.
    """
    now = inserted(home, slot)
    if now is not None:
        raise ReaderOccupied(f"card {now.card_id} is in the reader: `warifu card eject` first")
    if not is_running() and os.geteuid() != 0:
        raise MayNotStart("no pcscd runs, and only root may start one: run `sudo pcscd`, or this command as root")
    with disk_errors(home.logs):
        home.run.mkdir(parents=True, exist_ok=True)
        home.logs.mkdir(parents=True, exist_ok=True)
        words = _words_path(home, slot).open("wb")
    with words:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "warifu.demo.desk", str(home.root), card_id, *_given(trace, slot)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            start_new_session=True,
        )
    _await_inserted(_words_path(home, slot), process)


def _words_path(home: Home, slot: int) -> Path:
    """What the holding process has to say."""
    return home.logs / ("reader.txt" if slot == 1 else f"reader-{slot}.txt")


def _given(trace: Path | None, slot: int) -> list[str]:
    return ["--slot", str(slot), *([] if trace is None else ["--trace", str(trace)])]


def _await_inserted(words: Path, process: "subprocess.Popen[bytes]") -> None:
    """The process prints one word when pcscd has seen the card, or ends with its error."""
    if process.stdout is None:
        return
    with process.stdout as output:
        word = _line_within(output.fileno(), INSERT_WITHIN_S)
    if word.strip() == _INSERTED.encode():
        return
    process.terminate()
    process.wait(EJECT_WITHIN_S)
    last = words.read_text("utf-8", "replace").strip().splitlines()
    raise Unavailable(last[-1].removeprefix("warifu: ") if last else "the reader does not take the card in time")


def _line_within(descriptor: int, seconds: float) -> bytes:
    """What comes before the pipe closes, a line ends or time is over."""
    os.set_blocking(descriptor, False)
    deadline = time.monotonic() + seconds
    seen = b""
    while time.monotonic() < deadline and b"\n" not in seen:
        try:
            piece = os.read(descriptor, 100)
        except BlockingIOError:
            time.sleep(_LOOK_EVERY_S)
            continue
        if not piece:
            break
        seen += piece
    return seen


def eject(home: Home, slot: int = 1) -> str:
    """Take the card out; its id.

    Raises:
        ReaderEmpty: there is none.
        Unavailable: the process that holds it does not end.
    """
    now = inserted(home, slot)
    if now is None:
        raise ReaderEmpty("no card is in the reader" if slot == 1 else f"no card is in the reader's slot {slot}")
    if now.process_id:
        with contextlib.suppress(ProcessLookupError):
            os.kill(now.process_id, signal.SIGTERM)
    deadline = time.monotonic() + EJECT_WITHIN_S
    while inserted(home, slot) is not None:
        if time.monotonic() > deadline:
            raise Unavailable(f"process {now.process_id} does not give the card back")
        time.sleep(_LOOK_EVERY_S)
    return now.card_id


# ---- the process that holds the card ------------------------------------------------------------------------------


@contextmanager
def _held(home: Home, card_id: str, slot: int) -> Iterator[None]:
    descriptor = os.open(state_path(home, slot), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReaderOccupied("a card is in the reader: `warifu card eject` first") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {card_id}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


async def _hold(home: Home, card_id: str, sink: Sink | None, slot: int) -> None:
    async with AsyncExitStack() as resources:
        card = await FileReader(home.cards).connect(card_id)
        resources.push_async_callback(card.close)
        if not is_running():
            await resources.enter_async_context(Pcscd(home.run / "pcscd", enclosed=False))
        held = card if sink is None else TracedCard(card, Trace(SystemClock().now_ms, sink))
        await hold_card(held, port=DEFAULT_PORT + slot - 1, inserted=_say_inserted)


def _say_inserted() -> None:
    with contextlib.suppress(OSError):  # said again after a restart of pcscd, when nobody listens any more
        os.write(1, f"{_INSERTED}\n".encode())


async def _hold_until_signal(home: Home, card_id: str, sink: Sink | None, slot: int) -> None:
    task = asyncio.ensure_future(_hold(home, card_id, sink, slot))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


def hold_here(home: Home, card_id: str, sink: Sink | None, slot: int = 1) -> None:
    """Hold a card in the reader in this process, until a signal. Raises as ``insert``."""
    home.run.mkdir(parents=True, exist_ok=True)
    with _held(home, card_id, slot):
        asyncio.run(_hold_until_signal(home, card_id, sink, slot))


def main() -> int:
    """0 after a signal, 1 after an error."""
    parser = argparse.ArgumentParser(prog="python -m warifu.demo.desk")
    parser.add_argument("home", type=Path)
    parser.add_argument("card_id")
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--slot", type=int, default=1)
    given = parser.parse_args()
    home = Home(given.home)
    try:
        if given.trace is None:
            hold_here(home, given.card_id, None, given.slot)
        else:
            with saved(given.trace) as sink:
                hold_here(home, given.card_id, sink, given.slot)
    except (WarifuError, OSError) as error:
        sys.stderr.write(error_line(error) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
