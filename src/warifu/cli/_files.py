"""Files that a command is asked to write: looked at before minutes of work, not after them."""

import os
from pathlib import Path

from warifu.kernel.errors import Refused


class Unwritable(Refused):
    """Nothing can be written where the result is to go."""

    code = "file.unwritable"


def require_writable(*files: Path | None) -> None:
    """``Unwritable`` unless each (those that are asked for) can be written, as far as can be seen now."""
    for file in files:
        if file is not None and (problem := _problem(file.absolute())):
            raise Unwritable(f"{file}: {problem}: name a file in a folder that is there and can be written")


def _problem(file: Path) -> str:
    if file.is_dir():
        return "it is a folder"
    if not file.parent.is_dir():
        return "its folder is not there"
    return "" if os.access(file if file.exists() else file.parent, os.W_OK) else "it cannot be written"
