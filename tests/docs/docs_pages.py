"""Pages whose ``sh`` blocks are run as they stand, all in one shell, and held to the ``text`` under them."""

import asyncio
import doctest
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[2] / "docs"
BLOCK: Final = re.compile(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
END: Final = "-- end of block --"


def blocks(page: str) -> list[tuple[str, str]]:
    """Commands, and what stands under them."""
    return [(commands, said or "") for commands, said in BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))]


def script(commands: Sequence[str], afterwards: str) -> str:
    """One shell for all blocks: they share variables and background jobs, as at a desk."""
    body = "".join(f"{one}echo '{END}'\n" for one in commands)
    return f"trap 'kill $(jobs -p) 2> /dev/null || :; {afterwards}' EXIT\nset -e\n{body}"


def environment(folder: Path) -> dict[str, str]:
    """As for a user whose ``warifu`` is on the PATH."""
    path = f"{Path(sys.executable).parent}:/usr/sbin:{os.environ['PATH']}"
    return os.environ | {"WARIFU_HOME": str(folder / "home"), "PATH": path, "LC_ALL": "C.UTF-8"}


async def said_by_the_shell(folder: Path, text: str, deadline_s: float, wrap: Callable[..., list[str]]) -> str:
    """What the commands print; the shell and what it left in the background end with the deadline."""
    shell = await asyncio.create_subprocess_exec(
        *wrap("bash", "-c", f"cd {folder}\n{text}"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        env=environment(folder), start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(deadline_s):
            out, _ = await shell.communicate()
    except TimeoutError:
        os.killpg(shell.pid, signal.SIGTERM)
        raise
    assert shell.returncode == 0, out.decode()
    return out.decode()


def hold(page: str, said: str) -> None:
    """Each block said what the page says it says.

    Raises:
        AssertionError: with the commands, what was wanted and what came.
    """
    wanted = blocks(page)
    got = re.sub(r" +$", "", said, flags=re.MULTILINE).split(f"{END}\n")  # a page does not show blanks at a line's end
    assert len(got) == len(wanted) + 1
    checker = doctest.OutputChecker()
    for (commands, expected), output in zip(wanted, got, strict=False):
        assert checker.check_output(expected, output, doctest.ELLIPSIS), (
            f"{commands}\nwanted:\n{expected}\ngot:\n{output}"
        )
