"""The ``chip`` scenario: one chip, a hundred commands that make sense, are damaged, or are noise, and its oracle.

The same as ``lab prove apdu-fuzz``, which runs a million of them; here a few, so that whoever changes the chip hears of
it where everything else is searched. And a fresh chip at one of its limits, which noise comes near to by no chance.
"""

from typing import Final

from warifu.lab.scenarios.chip_limits import wrong_at_a_limit
from warifu.lab.scenarios.chip_sequences import play
from warifu.lab.scenarios.small import small
from warifu.lab.simulation.world import World

COMMANDS: Final = 100


async def drive(world: World, size: int) -> None:
    """One sequence; a PIN seen in an answer may be there by chance, and is seen again on a card with other PINs."""
    watched = play(world.plan.seed, size)
    for text in watched.wrong:
        world.violated("a chip keeps its promises", text)
    if watched.leaked_pin is not None and play(world.plan.seed, size, variant=1).leaked_pin == watched.leaked_pin:
        world.violated("a chip keeps its promises", "a response holds a PIN")
    if wrong := wrong_at_a_limit(world.plan.seed):
        world.violated("a chip is filled to its limit and no further", wrong)


CHIP: Final = small("chip", drive, COMMANDS)
