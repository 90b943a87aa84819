"""``warifu pki import``: the records of an authority that closed."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from warifu.adapters.clock import SystemClock
from warifu.demo.connection import any_config, database_urls
from warifu.demo.pki_import import import_file
from warifu.stack import status
from warifu.stack.home import default_home

_EPILOG: Final = """\
example:
  warifu pki import pref-13.jsonl     again after a break: it goes on where it was (format: docs/migration.md)
"""


def add_parser(what: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command under ``pki``."""
    parser = what.add_parser(
        "import",
        help="move a closed authority's issue records and revocations here; counted and reconciled",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when all of the file is here and the counts agree."""
    home = default_home()
    urls = database_urls(home, any_config(home, status.read(home)))
    with Console(stderr=True).status("importing") as spinner:
        done = asyncio.run(
            import_file(
                urls["authority"], args.file, SystemClock(), lambda count: spinner.update(f"importing: {count:,}")
            )
        )
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(done.revoked.items()))
    before = f" ({done.already:,} were here before)" if done.already else ""
    sys.stdout.write(f"{done.authority}: {done.certificates:,} certificates{before}; revoked: {reasons or 'none'}\n")
    return 0
