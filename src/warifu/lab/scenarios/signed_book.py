"""What the authorities sign stands in the register before: no certificate is in the world of which JPKI has no record.

A break between the signature and its record would leave one. It is rare; that the record comes first is seen each time.
"""

from typing import TYPE_CHECKING, Final

from warifu.adapters.store.memory import MemoryStore
from warifu.domain.certificates.records import Certificate
from warifu.lab.simulation.devices import SimulatedFactory

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

NAME: Final = "what is signed was recorded before"


class SignedBook:
    """Watches the authorities' device.

    Args:
        world: where it stands.
        factory: the device's workers.
        register: where certificates are recorded.
    """

    def __init__(self, world: "World", factory: SimulatedFactory, register: MemoryStore) -> None:
        self._world = world
        self._register = register
        self._unknown: dict[bytes, None] = {}
        """Texts that no certificate of the register was of as they were signed: a root's, a list's; or too early."""
        factory.signing = self._signed

    def _signed(self, text: bytes) -> None:
        if not any(text == row.tbs or text in row.der for row in self._certificates()):
            self._unknown[text] = None

    def check(self) -> None:
        """In the evening: no certificate was signed before it was recorded."""
        for row in self._certificates():
            if any(text in row.der for text in self._unknown):
                self._world.violated(NAME, f"{row.ca} {row.serial} was signed first")

    def _certificates(self) -> list[Certificate]:
        return [row for row in self._register.records(Certificate) if isinstance(row, Certificate)]
