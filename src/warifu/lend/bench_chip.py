"""A chip on the maker's bench: in memory, with both domains' keys at hand."""

from collections.abc import Callable
from typing import Final

from warifu.adapters.hsm.software import SoftwareDevice
from warifu.chip import client
from warifu.chip.card import Chip
from warifu.chip.errors import PinBlocked, WrongPin
from warifu.chip.issuer import ISD, JPKI
from warifu.chip.personalise import ChipKeys, card_key_body, manufacture, new_card_key, with_chip_keys
from warifu.domain.cards.chip_names import Place
from warifu.lend.errors import ChipRefused
from warifu.lend.owners import OwnersCard
from warifu.ports.entropy import Entropy

_TRIES_MAX: Final = 16


class BenchChip(OwnersCard):
    """A new chip.

    Args:
        device: holds the SCP03 masters.
        card_id: the card's.
        entropy: for keys and challenges.
        certify: signs the card key's certificate body.
    """

    def __init__(
        self, device: SoftwareDevice, card_id: str, entropy: Entropy, certify: Callable[[bytes], bytes]
    ) -> None:
        super().__init__(device, card_id, self._counted, entropy)
        key = new_card_key(entropy)
        self.image = manufacture(
            card_id,
            isd_keys=self.static_keys(ISD),
            jpki_keys=self.static_keys(JPKI),
            card_key=key,
            card_key_signature=certify(card_key_body(card_id, key)),
        )
        self._chip = Chip(self.image, self._keep, entropy)
        self.commands = 0

    def _keep(self, image: bytes) -> None:
        self.image = image

    async def _counted(self, command: bytes) -> bytes:
        self.commands += 1
        return self._chip.transmit(command)

    def give_keys(self, chip_keys: ChipKeys) -> None:
        """RSA keys of its own, as long as nothing was written."""
        self.image = with_chip_keys(self.image, chip_keys)
        self._chip = Chip(self.image, self._keep, self._entropy)

    async def block(self, place: Place, wrong: str) -> None:
        """Present a wrong PIN until no try is left."""
        for _ in range(_TRIES_MAX):
            try:
                await client.verify_pin(self.transmit, *place, wrong)
            except WrongPin:
                continue
            except PinBlocked:
                return
        raise ChipRefused("the PIN does not block")
