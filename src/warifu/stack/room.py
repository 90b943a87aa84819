"""Who has found no room on a disk, as far as a supervisor hears of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from warifu.contract.health import Part
from warifu.kernel.errors import DiskFull
from warifu.stack.keeper import Keeper
from warifu.stack.postgres import SHARED_PLACE

TOLD_FOR_S: Final = 10.0
"""After the last sign of it: a database that ends for want of room says so once in each of its lives."""


def sentence(who: list[str], home: Path) -> str:
    """What is so and what to do, in one line; nothing when nobody is short of room."""
    if not who:
        return ""
    where = (home / "postgres").resolve()
    places = f"{home} and {where}" if where.is_relative_to(SHARED_PLACE) else f"{home}"
    return f"no space left for {', '.join(who)} in {places}: free some; whatever waits goes on by itself"


def without_room(keepers: Mapping[str, Keeper], now_s: float) -> list[str]:
    """The programs that could not write, or whose words could not be kept, of late.

    Args:
        keepers: of every program, by name.
        now_s: of the monotonic clock.
    """
    return [name for name, keeper in keepers.items() if _short(keeper, now_s)]


def _short(keeper: Keeper, now_s: float) -> bool:
    heard = keeper.log.full_s is not None and now_s - keeper.log.full_s < TOLD_FOR_S
    parts: Mapping[str, Part] = keeper.health.parts if keeper.health else {}
    return heard or any(DiskFull.code in part.detail for part in parts.values() if not part.ok)
