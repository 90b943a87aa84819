"""Floor 7: the command ``warifu``. One module a command, each with ``add_parser(subparsers)`` and ``run(args) -> int``.

A module that is here is a command; what is not built has no module. Names with an underscore first are no commands.
Exit status: 0 only when what was asked happened; 1 with one line ``warifu: <code>: <text>`` on stderr; 2 for wrong
usage; 3 when a property failed in a ``lab`` command; 130 after Ctrl-C.
"""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from warifu.kernel.errors import WarifuError
from warifu.stack.errors import error_line, first_error

INTERRUPTED = 130
FAILED = 1

_EPILOG = """\
examples:
  warifu up --detach        start a stack in the background
  warifu status             what runs, and how it is
  warifu down               end it

WARIFU_HOME names the folder in which everything lives. Everything here is synthetic: this is not the real service.
"""


class _Parser(argparse.ArgumentParser):
    """Errors in one line, like every other error of ours."""

    def error(self, message: str) -> NoReturn:
        """Wrong usage."""
        self.exit(2, f"warifu: usage: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        chosen = _parser(words).parse_args(words)
        status: int = chosen.module.run(chosen)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone
        return FAILED
    except (WarifuError, OSError, BaseExceptionGroup) as error:
        return _fail(error)
    return status


def _fail(error: BaseException) -> int:
    cause = first_error(error)
    if isinstance(cause, KeyboardInterrupt):
        return INTERRUPTED
    if not isinstance(cause, WarifuError | OSError):
        raise error
    sys.stderr.write(error_line(cause) + "\n")
    return FAILED


def _parser(words: Sequence[str]) -> _Parser:
    """The parser; of a command that is named at once, only that command's module is loaded."""
    parser = _Parser(
        prog="warifu",
        description="Runs a national ID-card operation: apply, issue, set up, hand over, use, change, revoke.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    names = _commands()
    for name in [words[0]] if words and words[0] in names else names:
        module = importlib.import_module(f"{__name__}.{name}")
        _add(module, subparsers)
    return parser


def _add(module: ModuleType, subparsers: "argparse._SubParsersAction[_Parser]") -> None:
    before = set(subparsers.choices)
    module.add_parser(subparsers)
    for name in set(subparsers.choices) - before:
        command = subparsers.choices[name]
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.set_defaults(module=module)


def _commands() -> list[str]:
    """Names of the commands: the modules of this package."""
    return sorted(entry.name for entry in pkgutil.iter_modules(__path__) if not entry.name.startswith("_"))
