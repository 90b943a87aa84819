"""The documents' figures of the set-up at the terminal (domain.md section 2), seconds. Measured on 11 July 2016.

"That step" is what the documents call processing 4, card write/verify to log output, terminal and CS together.
"""

from typing import Final

from msgspec import Struct


class Measured(Struct, frozen=True):
    """One row: the system's part of a set-up, that step in it, and the clerk's."""

    system_s: float
    step_s: float
    clerk_s: float


CITIES: Final[dict[str, Measured]] = {
    "A": Measured(87.56, 74.12, 33.07),
    "B": Measured(64.46, 54.17, 10.69),
    "C": Measured(97.20, 87.44, 44.70),
    "D": Measured(83.75, 71.25, 40.46),
}
MEAN: Final = Measured(83.24, 71.75, 32.23)
EXCHANGES: Final = 29
"""Command/response exchanges terminal-CS."""
CHIP_COMMANDS: Final = 146
"""Card reads and writes."""
CS_SETUPS_PER_HOUR: Final = 360
"""What one CS could do, one after the other: hence ten seconds of its own work for each."""
