"""Being told to end (SIGTERM, or the terminal is gone) is taken as Ctrl-C is: what was begun is cleared away first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

TOLD_TO_END: Final = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def like_ctrl_c() -> Iterator[None]:
    """Within, the first of these signals is a Ctrl-C, and the next come too late. What is ignored stays so.

    Where Ctrl-C itself is ignored (in the background of a script) the signals keep what they do: there is nobody to
    hand them to.
    """
    taken = [number for number in TOLD_TO_END if _can_be_taken(number)]

    def interrupt(_number: int, frame: FrameType | None) -> None:
        for number in taken:
            signal.signal(number, signal.SIG_IGN)
        ctrl_c = signal.getsignal(signal.SIGINT)
        if callable(ctrl_c):  # asyncio's, while a loop runs: it ends the main task instead of breaking into it
            ctrl_c(signal.SIGINT, frame)

    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _can_be_taken(number: signal.Signals) -> bool:
    here = threading.current_thread() is threading.main_thread()
    return here and callable(signal.getsignal(signal.SIGINT)) and signal.getsignal(number) is signal.SIG_DFL
