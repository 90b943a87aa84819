"""The chip: bytes in, bytes out."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from warifu.chip import apdu, channel, layout, pins, reading, signing, staging
from warifu.chip.apdu import Command, StatusError
from warifu.chip.image import Image, decode
from warifu.chip.state import ChipState, RandomBytes

_Handler = Callable[[ChipState, Command], bytes]

_PLAIN: Final[Mapping[tuple[int, int], _Handler]] = MappingProxyType(
    {
        (0x00, 0xA4): reading.select,
        (0x00, 0xB0): reading.read_binary,
        (0x00, 0xB2): reading.read_record,
        (0x00, 0xCA): reading.get_data,
        (0x80, 0xCA): reading.get_data,
        (0x00, 0x84): reading.get_challenge,
        (0x00, 0x20): pins.verify,
        (0x00, 0x24): pins.change_reference_data,
        (0x80, 0x32): pins.change_key,
        (0x80, 0x2C): pins.set_pin,
        (0x80, 0x2A): signing.compute_signature,
        (0x00, 0x88): signing.internal_authenticate,
        (0x80, 0x50): channel.initialize_update,
        (0x84, 0x82): channel.external_authenticate,
    }
)
_SECURED: Final[Mapping[int, _Handler]] = MappingProxyType(
    {
        staging.BEGIN: staging.begin,
        staging.COMMIT: staging.commit,
        staging.ROLLBACK: staging.rollback,
        0xCA: reading.get_data,
        **dict.fromkeys(staging.STAGED, staging.stage),
    }
)
_KNOWN_CLASSES: Final = (0x00, 0x80, channel.SECURE)


class Chip:
    """A card operating system running on one image.

    Args:
        image: what the chip remembers (``warifu.chip.image``).
        save: called with the new image for each durable change; when it returns, the change is on disk. When it raises,
            that is a power cut: the change did not become visible, the chip is reset, and the error goes on.
        entropy: randomness for GET CHALLENGE.
        atr: the answer to reset.
        clear_security_on_reselect_same_df: whether SELECT of the current applet forgets its verified PINs. Real cards
            do, and OpenSC's logout relies on it; pyjpki needs it off.

    Raises:
        ImageDamaged: the image is not whole.
    """

    def __init__(
        self,
        image: bytes,
        save: Callable[[bytes], None],
        entropy: RandomBytes,
        *,
        atr: bytes = layout.CONTACT_ATR,
        clear_security_on_reselect_same_df: bool = True,
    ) -> None:
        self._state = ChipState(decode(image), save, entropy, atr, clear_security_on_reselect_same_df)

    @property
    def atr(self) -> bytes:
        """The answer to reset."""
        return self._state.atr

    @property
    def card_id(self) -> str:
        """Fifteen ASCII characters."""
        return self._state.image.card_id

    @property
    def image(self) -> Image:
        """What is durable now."""
        return self._state.image

    def reset(self) -> None:
        """Power down and up: verified PINs, channels and staged changes are gone."""
        self._state.reset()

    def transmit(self, raw: bytes) -> bytes:
        """One command APDU in, one response APDU out. No input raises; only a failing ``save`` does."""
        try:
            command = apdu.parse(raw)
            data = self._run(command)
        except StatusError as error:
            return apdu.word(error.word)
        except BaseException:
            self.reset()
            raise
        return data + apdu.word(apdu.OK)

    def _run(self, command: Command) -> bytes:
        if command.cla not in _KNOWN_CLASSES:
            raise StatusError(apdu.UNKNOWN_CLA)
        handler = _PLAIN.get((command.cla, command.ins))
        if handler is not None:
            return handler(self._state, command)
        if command.cla == channel.SECURE:
            return self._run_secured(command)
        if command.ins in _SECURED:
            raise StatusError(apdu.SECURITY_STATUS)
        raise StatusError(apdu.UNKNOWN_INS)

    def _run_secured(self, command: Command) -> bytes:
        plain = channel.unwrap(self._state, command)
        handler = _SECURED.get(plain.ins)
        if handler is None:
            raise StatusError(apdu.UNKNOWN_INS)
        answer = handler(self._state, plain)
        return channel.wrap_response(channel.open_channel(self._state), answer)
