"""What must hold of a chip after every command, whatever the command was.

Looks from outside and inside: at the response, at what became durable, and at whether both allow each other.
"""

from collections.abc import Iterator
from itertools import starmap
from typing import Final

from warifu.chip import apdu, staging
from warifu.chip.apdu import Command, StatusError
from warifu.chip.card import Chip
from warifu.chip.image import Applet, Image, Pin, decode

STATUS_FIRST_BYTES: Final = frozenset((0x90, 0x63, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x6B, 0x6D, 0x6E, 0x6F))
_OK: Final = b"\x90\x00"
_VERIFY, _CHANGE, _CHANGE_KEY, _SET_PIN = 0x20, 0x24, 0x32, 0x2C
_PLAIN_VERIFY: Final = b"\x00\x20"
_OPEN: Final = b"\x84\x82"
_TRIES_LEFT: Final = 0x63
_WINDOW: Final = 8
_SEEN_MAX: Final = 4096


class Watched:
    """A chip, with every exchange judged. ``saved`` is the newest durable image's bytes.

    Args:
        chip: the chip.
        secrets: windows of eight bytes that no response may contain.
        saved: where the chip's ``save`` puts its images.
    """

    def __init__(self, chip: Chip, secrets: frozenset[bytes], saved: list[bytes]) -> None:
        self.chip = chip
        self.log: list[bytes] = []
        self.wrong: list[str] = []
        self.leaked_pin: int | None = None
        self._secrets = secrets
        self._saved = saved
        self._seen: set[bytes] = set()
        self._pins = pin_values(chip.image)

    def transmit(self, command: bytes) -> bytes:
        """One command; what is wrong with what came of it is added to ``wrong``."""
        before, saves = self.chip.image, len(self._saved)
        self.log.append(command)
        try:
            response = self.chip.transmit(command)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            self.wrong.append(f"{type(error).__name__} escaped")
            self.chip.reset()
            return b"\x6f\x00"
        if len(response) < len(_OK) or response[-2] not in STATUS_FIRST_BYTES:
            self.wrong.append(f"response ends with {response[-2:].hex()}")
        self._look_for_secrets(response)
        if command[:2] == _PLAIN_VERIFY and response == _OK and apdu.parse(command).data not in all_values(before):
            self.wrong.append("a wrong PIN was taken")
        if command[:2] == _PLAIN_VERIFY and not _counted(before, self.chip.image, command, response):
            self.wrong.append("a wrong PIN cost no try, or more than one")
        if not _lowered_first(before, self._saved[saves:], command, response):
            self.wrong.append("a PIN was compared before its try was counted")
        if not _channel_counted(before, self.chip.image, command, response):
            self.wrong.append("a channel was opened and not counted")
        if len(self._saved) > saves + 1 and _committed(_parsed(command), response):
            self.wrong.append("a commit was saved in two steps")
        if self.chip.image is not before:
            self._judge_change(before, command, response)
        return response

    def _look_for_secrets(self, response: bytes) -> None:
        body = response[:-2]
        if not body or body in self._seen:
            return
        if any(body[at : at + _WINDOW] in self._secrets for at in range(len(body) - _WINDOW + 1)):
            self.wrong.append("a response holds part of a key")
        if self.leaked_pin is None and any(pin in body for pin in self._pins):
            self.leaked_pin = len(self.log) - 1
        if len(self._seen) < _SEEN_MAX:
            self._seen.add(body)

    def _judge_change(self, before: Image, command: bytes, response: bytes) -> None:
        after = self.chip.image
        if decode(self._saved[-1]) != after:
            self.wrong.append("what was saved is not what the chip shows")
        self._saved[:-1] = []
        self._pins = pin_values(after)
        self.wrong.extend(broken(before, after, command, response))


def all_values(image: Image) -> frozenset[bytes]:
    """The values of everything VERIFY takes."""
    return frozenset(pin.value for applet in image.applets for pin in applet.pins if pin.value)


def pin_values(image: Image) -> frozenset[bytes]:
    """The holder's PINs on a card. Verification numbers stand in files by design."""
    return frozenset(
        pin.value for applet in image.applets for pin in applet.pins if pin.value and not pin.kind.startswith("number")
        and pin.kind != "birth_digits"
    )  # fmt: skip


def broken(before: Image, after: Image, command: bytes, response: bytes) -> Iterator[str]:
    """The promises that a durable change breaks."""
    parsed = _parsed(command)
    if _committed(parsed, response):
        yield from _sequences(before, after)
        return
    if (after.life, after.card_key, after.interface) != (before.life, before.card_key, before.interface):
        yield "the card itself changed without a commit"
    if [applet.aid for applet in after.applets] != [applet.aid for applet in before.applets]:
        yield "applets changed without a commit"
        return
    for old, new in zip(before.applets, after.applets, strict=True):
        yield from _applet(old, new, parsed, response)
    if after.last_write != before.last_write and not _is(parsed, 0x84, staging.ROLLBACK, response):
        yield "the record of writes changed without a commit or rollback"
    yield from _sequences(before, after)


def _applet(old: Applet, new: Applet, command: Command | None, response: bytes) -> Iterator[str]:
    if (old.efs, old.keys, old.locked, old.domain) != (new.efs, new.keys, new.locked, new.domain):
        yield "files or keys changed without a commit"
    for text in starmap(
        _pin, zip(old.pins, new.pins, [command] * len(old.pins), [response] * len(old.pins), strict=True)
    ):
        if text is not None:
            yield text


def _pin(old: Pin, new: Pin, command: Command | None, response: bytes) -> str | None:
    """None when the change of this PIN is allowed by this exchange."""
    ok = response[-2:] == _OK
    if new.value != old.value:
        changed = command is not None and command.ins in (_CHANGE, _CHANGE_KEY, _SET_PIN) and ok
        return None if changed else "a PIN changed without success"
    if new.tries_left <= old.tries_left:
        return None
    if command is not None and command.ins == _VERIFY and response[-2:] == _OK and not old.tries_left:
        return "a blocked PIN was taken"
    if command is None or not ok or command.ins not in (_VERIFY, _CHANGE, _CHANGE_KEY, _SET_PIN):
        return "a PIN counter rose without success"
    return None


def _counted(before: Image, after: Image, command: bytes, response: bytes) -> bool:
    """Whether a wrong PIN cost the one try that the response tells of."""
    told = response[-2] == _TRIES_LEFT and bool(apdu.parse(command).data)
    if not told or response[-2:] == _OK:
        return True
    left = response[-1] & 0x0F
    pins = zip(_pins(before), _pins(after), strict=True)
    return any((old.tries_left, new.tries_left) == (left + 1, left) for old, new in pins)


def _lowered_first(before: Image, saved: list[bytes], command: bytes, response: bytes) -> bool:
    """Whether the try was gone for good before the value was looked at: who pulls the card then gets none back."""
    parsed = _parsed(command) if command[:2] == _PLAIN_VERIFY else None
    compared = parsed is not None and bool(parsed.data) and (response == _OK or response[-2] == _TRIES_LEFT)
    if not compared:
        return True
    pins = zip(_pins(before), _pins(decode(saved[0])), strict=True) if saved else ()
    return any(new.tries_left == old.tries_left - 1 for old, new in pins)


def _pins(image: Image) -> list[Pin]:
    return [pin for applet in image.applets for pin in applet.pins]


def _sequences(before: Image, after: Image) -> Iterator[str]:
    counts = {domain.aid: domain.sequence for domain in after.domains}
    if any(counts.get(domain.aid, domain.sequence) < domain.sequence for domain in before.domains):
        yield "a channel count went back"


def _channel_counted(before: Image, after: Image, command: bytes, response: bytes) -> bool:
    """Whether a channel that was opened is counted, so that what was said in it cannot be said again in another."""
    opened = command[:2] == _OPEN and response == _OK
    counts = [sum(domain.sequence for domain in image.domains) for image in (before, after)]
    return not opened or counts[1] == counts[0] + 1


def _committed(command: Command | None, response: bytes) -> bool:
    return _is(command, 0x84, staging.COMMIT, response)


def _is(command: Command | None, cla: int, ins: int, response: bytes) -> bool:
    return command is not None and (command.cla, command.ins) == (cla, ins) and response[-2:] == _OK


def _parsed(command: bytes) -> Command | None:
    try:
        return apdu.parse(command)
    except StatusError:
        return None
