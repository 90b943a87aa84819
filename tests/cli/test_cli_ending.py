"""A lab command that is told to end clears away what it began, as with Ctrl-C."""

import os
import signal
import subprocess
import sys

import pytest

WORK = """
import asyncio, signal, sys
import uvloop
from warifu.cli._ending import like_ctrl_c
for number in (signal.SIGTERM, signal.SIGHUP):  # whoever runs this test may ignore them: so does what it begins
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, {ctrl_c})
async def work():
    try:
        print("begun", flush=True)
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        print("cleared", flush=True)
try:
    with like_ctrl_c():
        uvloop.run(work())
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("ctrl_c", "end", "said"), [("signal.default_int_handler", 130, "cleared\n"), ("signal.SIG_IGN", None, "")]
)
def test_being_told_to_end_is_like_ctrl_c(number: signal.Signals, ctrl_c: str, end: int | None, said: str) -> None:
    command = [sys.executable, "-c", WORK.format(ctrl_c=ctrl_c)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as work:
        assert work.stdout is not None
        try:
            assert work.stdout.readline() == "begun\n"
            os.kill(work.pid, number)
            out, _ = work.communicate(timeout=30)
        finally:
            work.kill()
    assert (work.returncode, out) == (end or -number, said)
