"""A stack of one's own with cards on their way to the counters, for proofs and benches of the screens."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

from msgspec import Struct

from warifu.demo.people import PLACES, Holder
from warifu.demo.waiting import cards_on_their_way
from warifu.stack import control, staff, status
from warifu.stack.home import Home
from warifu.stack.staff import DemoAccount

PLACE: Final = "131016"
STOP_WITHIN_S: Final = 90


class Nobody:
    """Is told of progress and says nothing."""

    def expect(self, step: str, count: int) -> None:
        """So many of a step."""

    def ended(self, step: str, seconds: float, *, failed: bool) -> None:
        """One of a step."""


class Rehearsal(Struct, frozen=True):
    """The running stack's first counter."""

    home: Home
    url: str
    cards: tuple[str, ...]
    """Of this counter, shipped."""
    portal: str
    """Where the residents' portal is."""
    holders: tuple[Holder, ...]
    """Of every counter."""

    def account(self, login: str = "clerk") -> DemoAccount:
        """A demonstration account of this counter."""
        return staff.demo_account(self.home, PLACE, login)


@contextmanager
def rehearsal(residents: int, *, second_terminals: bool = False) -> Iterator[Rehearsal]:
    """Topology ``demo`` in a folder of its own, gone afterwards.

    Args:
        residents: whose cards are on their way, of both municipalities.
        second_terminals: each municipality has two.
    """
    folder = Path(tempfile.mkdtemp(prefix="warifu-rehearsal-"))
    folder.chmod(0o711)  # PostgreSQL's user must pass through
    home = Home(folder / "home")
    try:
        process = control.start(home, _with_more(folder) if second_terminals else "demo", leashed=True)
        try:
            now = status.read(home)
            holders = tuple(asyncio.run(cards_on_their_way(home, now, residents, Nobody())))
            cards = tuple(holder.card_id for holder in holders if holder.municipality == PLACE)
            yield Rehearsal(home, now.urls[f"terminal-{PLACE}"], cards, now.urls["portal"], holders)
        finally:
            control.stop(home)
            process.wait(STOP_WITHIN_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _with_more(folder: Path) -> str:
    """A topology file: ``demo`` with a second terminal at each counter."""
    text = (resources.files("warifu.stack") / "topologies" / "demo.toml").read_text("utf-8")
    more = (
        f'\n[[node]]\nname = "terminal-{place}-2"\nkind = "terminal"\nmunicipality = "{place}"\n' for place in PLACES
    )
    path = folder / "counters.toml"
    path.write_text(text + "".join(more), "utf-8")
    return str(path)
