"""The page ``docs/lend-a-card.md`` is true: its commands run, against the real programs, and say what it says."""

import asyncio
import doctest
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from lend_kit import run

from warifu.adapters.reader.pcscd import Pcscd

PAGE = Path(__file__).parents[2] / "docs" / "lend-a-card.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
ENGINE = "/usr/lib/*/engines-3/pkcs11.so"
DEADLINE_S = 100
END = "-- end of block --"
FORGIVING = doctest.ELLIPSIS


def blocks() -> list[tuple[str, str]]:
    """Commands, and what stands under them."""
    return [(commands, said or "") for commands, said in BLOCK.findall(PAGE.read_text(encoding="utf-8"))]


def script(commands: Sequence[str]) -> str:
    """One shell for all blocks: they share variables and background jobs, as at a desk."""
    body = "".join(f"{one}echo '{END}'\n" for one in commands)
    return f"trap 'kill $(jobs -p) 2> /dev/null || :; warifu card eject > /dev/null 2>&1 || :' EXIT\nset -e\n{body}"


async def said_by_the_shell(folder: Path, text: str) -> str:
    home = folder / "home"
    path = f"{Path(sys.executable).parent}:/usr/sbin:{os.environ['PATH']}"
    environment = os.environ | {"WARIFU_HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8"}
    async with asyncio.timeout(DEADLINE_S), Pcscd(folder / "pcscd") as pcscd:
        shell = await asyncio.create_subprocess_exec(
            *pcscd.command("bash", "-c", f"cd {folder}\n{text}"),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        out, _ = await shell.communicate()
    assert shell.returncode == 0, out.decode()
    return out.decode()


@pytest.mark.real
def test_every_command_of_the_page_says_what_the_page_says(tmp_path: Path) -> None:
    assert list(Path("/").glob(ENGINE.lstrip("/"))), "install libengine-pkcs11-openssl"
    page = blocks()
    said = run(said_by_the_shell(tmp_path, script([commands for commands, _ in page]))).split(f"{END}\n")
    assert len(said) == len(page) + 1
    checker = doctest.OutputChecker()
    for (commands, wanted), got in zip(page, said, strict=False):
        assert checker.check_output(wanted, got, FORGIVING), f"{commands}\nwanted:\n{wanted}\ngot:\n{got}"
