"""The chip: bytes in, bytes out."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from warifu.chip import apdu, channel, keys, locking, pins, reading, sessions, signing, staging, terminal_keys
from warifu.chip.apdu import Command, StatusError
from warifu.chip.image import Image, decode
from warifu.chip.layout import answer_to_reset
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
        (0x80, 0xA2): terminal_keys.set_public_ic_key,
        (0x80, 0xAE): sessions.set_session_key,
        (0x80, 0x50): channel.initialize_update,
        (0x80, locking.UNLOCK_DF): locking.issuer_only,
        (0x80, locking.UNLOCK_KEY): locking.issuer_only,
        (0x80, locking.MANAGE_ATTRIBUTES): locking.issuer_only,
        (0x80, 0xFC): reading.last_command,
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
        staging.GENERATE_KEY_PAIR: staging.generate_key_pair,
    }
)
_MESSAGE_CLASSES: Final = (sessions.SECURED, sessions.SECURED_WITH_HEADER)
_KNOWN_CLASSES: Final = (0x00, 0x80, channel.SECURE, *_MESSAGE_CLASSES)
_WHEN_LOCKED: Final = frozenset(
    {reading.select, reading.get_data, reading.get_challenge, channel.initialize_update, channel.external_authenticate}
)
"""What an applet that LOCK DF locked still does, and the issuer's commands."""


class Chip:
    """A card operating system running on one image.

    Args:
        image: what the chip remembers (``warifu.chip.image``).
        save: called with the new image for each durable change; when it returns, the change is on disk. When it raises,
            that is a power cut: the change did not become visible, the chip is reset, and the error goes on.
        entropy: randomness for GET CHALLENGE.
        atr: the answer to reset, when another one is wanted than the image names.
        clear_security_on_reselect_same_df: whether SELECT of the current applet forgets its verified PINs, when
            something else is wanted than the image says. Real cards do, and OpenSC's logout relies on it; pyjpki needs
            it off.
        make_key: makes RSA-2048 keys (PKCS#8 DER) for GENERATE KEY PAIR.

    Raises:
        ImageDamaged: the image is not whole.
    """

    def __init__(
        self,
        image: bytes,
        save: Callable[[bytes], None],
        entropy: RandomBytes,
        *,
        atr: bytes | None = None,
        clear_security_on_reselect_same_df: bool | None = None,
        make_key: Callable[[], bytes] = keys.generate_private_key,
    ) -> None:
        self._atr = atr
        first = decode(image)
        clears = clear_security_on_reselect_same_df
        self._state = ChipState(first, save, entropy, make_key, first.clear_on_reselect if clears is None else clears)

    @property
    def atr(self) -> bytes:
        """The answer to reset."""
        image = self._state.image
        return answer_to_reset(image.interface, image.contact_atr) if self._atr is None else self._atr

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
        if command.cla in _MESSAGE_CLASSES:
            self._check_unlocked(sessions.secured)
            return sessions.secured(self._state, command)
        handler = _PLAIN.get((command.cla, command.ins))
        if handler is not None:
            self._check_unlocked(handler)
            return handler(self._state, command)
        if command.cla == channel.SECURE:
            return self._run_secured(command)
        if command.ins in _SECURED:
            raise StatusError(apdu.SECURITY_STATUS)
        raise StatusError(apdu.UNKNOWN_INS)

    def _check_unlocked(self, handler: _Handler) -> None:
        if handler not in _WHEN_LOCKED and self._state.applet.locked:
            raise StatusError(apdu.CONDITIONS)

    def _run_secured(self, command: Command) -> bytes:
        plain = channel.unwrap(self._state, command)
        handler = _SECURED.get(plain.ins)
        if handler is None:
            raise StatusError(apdu.UNKNOWN_INS)
        answer = handler(self._state, plain)
        return channel.wrap_response(channel.open_channel(self._state), answer)
