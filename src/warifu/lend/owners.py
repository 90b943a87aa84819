"""Both owners' hands on a card made here: channels in both domains, card writes, PINs."""

from collections.abc import Sequence
from typing import Final

from warifu.adapters.hsm.software import SoftwareDevice
from warifu.chip import client
from warifu.chip.client import Transmit
from warifu.chip.issuer import (
    ISD,
    JPKI,
    HostChannel,
    IssuerCommand,
    StaticKeys,
    begin,
    commit,
    initialize_update,
    parse_initialize_update,
    running_digest,
    session_keys,
    start_digest,
    static_keys,
)
from warifu.domain.cards.chip_names import Place
from warifu.lend.authority import CARD_MASTERS
from warifu.lend.errors import ChipRefused
from warifu.ports.entropy import Entropy

_MASTER_OF: Final = dict(zip((ISD, JPKI), CARD_MASTERS, strict=True))


class OwnersCard:
    """A card whose both owners' keys are at hand.

    Args:
        device: holds the SCP03 masters (``LendingAuthority.device``).
        card_id: the card's.
        transmit: sends a command to it.
        entropy: for challenges, card writes and what PINs are encrypted with.
    """

    def __init__(self, device: SoftwareDevice, card_id: str, transmit: Transmit, entropy: Entropy) -> None:
        self._device = device
        self._card_id = card_id
        self._entropy = entropy
        self.transmit = transmit

    def static_keys(self, aid: bytes) -> StaticKeys:
        """The card's keys of one domain."""
        master = self._device.find(_MASTER_OF[aid], "card-master")
        return static_keys(lambda data: self._device.mac(master, data), self._card_id)

    async def channel(self, aid: bytes) -> HostChannel:
        """Select a domain and begin a channel in it; EXTERNAL AUTHENTICATE is the script's first command."""
        challenge = self._entropy.random_bytes(8)
        await client.select_applet(self.transmit, aid)
        return self.host_channel(aid, challenge, await self.transmit(initialize_update(challenge)))

    def host_channel(self, aid: bytes, challenge: bytes, response: bytes) -> HostChannel:
        """The owner's end of the channel that ``response`` (to INITIALIZE UPDATE with ``challenge``) begins."""
        answer = parse_initialize_update(response)
        keys = session_keys(self.static_keys(aid), challenge, answer.card_challenge)
        return HostChannel(aid, keys, challenge, response)

    async def write(self, step: str, *, jpki: Sequence[IssuerCommand] = (), own: Sequence[IssuerCommand]) -> None:
        """One card write, JPKI's part first if it has one, committed whole. ``ChipRefused`` otherwise."""
        write_id = self._entropy.random_bytes(16)
        digest = running_digest(start_digest(write_id), jpki)
        if jpki:
            await self._script(JPKI, [begin(JPKI, write_id), *jpki])
        end = commit(write_id, step, running_digest(digest, own))
        await self._script(ISD, [begin(ISD, write_id), *own, end])

    async def _script(self, aid: bytes, commands: Sequence[IssuerCommand]) -> None:
        channel = await self.channel(aid)
        result = await client.run_script(self.transmit, channel.script(commands))
        if not result.ok:
            raise ChipRefused(f"command {result.failed_at}, status {result.status:04X}")
        channel.read_responses(result.responses)

    async def set_pins(self, values: dict[Place, str], management_key: bytes) -> None:
        """Set PINs through the windows that are open, each encrypted to the card's certified key."""
        status = await client.read_card_status(self.transmit)
        card_key = await client.read_card_key(self.transmit, management_key)
        for window in status.windows:
            value = values[window.aid, window.ref]
            await client.set_pin(self.transmit, card_key, window, value, self._entropy)
