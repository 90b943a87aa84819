"""A pure timing model of the set-up's card step: waiting in the CS, the CS's own work, and the chip's commands.

    step = waiting(arrivals, work) + exchanges * work per exchange + chip commands * time per command

The documents give the sums, the counts (29 and 146) and the CS's 360 set-ups an hour. How a sum divides between waiting
and chip they do not say: *inferred* here is that the CS is a single server with constant service (M/D/1) under 240
set-ups an hour, which makes the waiting as long as the work, the same in each city; that the CS's work is in proportion
to the exchanges (it computes keys for each); and that all chip commands take equally long. What then differs between
cities is the chip's speed, which the documents themselves suspect.
"""

from typing import Final

from msgspec import Struct

from warifu.domain.setup_timing import oracles
from warifu.kernel.errors import Malformed

HOUR_S: Final = 3600.0


class Overloaded(Malformed):
    """More set-ups an hour than the CS can do: the queue grows without end and has no mean."""

    code = "setup_timing.overloaded"


class Work(Struct, frozen=True):
    """What one set-up asks for."""

    name: str
    exchanges: int
    chip_commands: int


LEGACY: Final = Work("legacy", oracles.EXCHANGES, oracles.CHIP_COMMANDS)


class Parameters(Struct, frozen=True, kw_only=True):
    """What the model assumes."""

    arrivals_per_hour: float = 240.0
    """Set-ups that reach one CS in an hour. Inferred."""
    work_per_exchange_s: float = HOUR_S / oracles.CS_SETUPS_PER_HOUR / oracles.EXCHANGES
    """The CS's own work for one exchange: ten seconds for twenty-nine."""
    chip_command_s: float
    """One command to the chip and its answer, reader included."""


class Times(Struct, frozen=True, kw_only=True):
    """The card step of one set-up, seconds."""

    waiting_s: float
    work_s: float
    chip_s: float

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.waiting_s + self.work_s + self.chip_s


def waiting_s(arrivals_per_hour: float, work_s: float) -> float:
    """Mean waiting before one server with constant service time (M/D/1; Pollaczek-Khinchine).

    Raises:
        Overloaded: the server cannot keep up.
    """
    busy = arrivals_per_hour * work_s / HOUR_S
    if busy >= 1:
        raise Overloaded(f"{arrivals_per_hour:g} an hour, {work_s:g} s each")
    return busy * work_s / (2 * (1 - busy))


def card_step(work: Work, parameters: Parameters) -> Times:
    """How long the card step takes. Raises ``Overloaded``."""
    cs_work_s = work.exchanges * parameters.work_per_exchange_s
    return Times(
        waiting_s=waiting_s(parameters.arrivals_per_hour, cs_work_s),
        work_s=cs_work_s,
        chip_s=work.chip_commands * parameters.chip_command_s,
    )


def fitted(measured: oracles.Measured, work: Work = LEGACY) -> Parameters:
    """The parameters under which ``work`` takes what was measured: only the chip's speed is free.

    Raises:
        Malformed: shorter than waiting and CS together: no chip is that fast.
    """
    without_chip = card_step(work, Parameters(chip_command_s=0.0))
    left_s = measured.step_s - without_chip.total_s
    if left_s <= 0:
        raise Malformed("the measured time leaves none for the chip")
    return Parameters(chip_command_s=left_s / work.chip_commands)


class Gain(Struct, frozen=True, kw_only=True):
    """One city's set-up, then and with other work; whole set-ups, clerk included."""

    city: str
    parameters: Parameters
    before: Times
    after: Times
    whole_before_s: float
    whole_after_s: float

    @property
    def gained_s(self) -> float:
        """What a clerk gains for each card."""
        return self.whole_before_s - self.whole_after_s


def gain(city: str, measured: oracles.Measured, work: Work) -> Gain:
    """What ``work`` instead of the legacy one would make of a city's set-up; everything else stays as measured."""
    parameters = fitted(measured)
    before, after = card_step(LEGACY, parameters), card_step(work, parameters)
    whole_s = measured.system_s + measured.clerk_s
    return Gain(
        city=city,
        parameters=parameters,
        before=before,
        after=after,
        whole_before_s=whole_s,
        whole_after_s=whole_s - before.total_s + after.total_s,
    )


def gains(work: Work) -> tuple[Gain, ...]:
    """For cities A to D and their mean."""
    rows = {**oracles.CITIES, "mean": oracles.MEAN}
    return tuple(gain(city, measured, work) for city, measured in rows.items())
