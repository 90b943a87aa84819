"""A chip at each of its limits: what may just be done is done, one more is refused, and the limits are those promised.

Fuzzed sequences come near no limit. Here a fresh card is brought to one of them, by the seed; how far it is to go, and
the word with which it ends, stand here a second time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Final

from warifu.chip import apdu, issuer, layout, staging
from warifu.chip.card import Chip
from warifu.chip.image import Access, Applet, Ef, Image, Pin, PinKind
from warifu.chip.issuer import IssuerCommand
from warifu.chip.layout import FACE, ISD, JUKI, TEXT
from warifu.lab.simulation.specimen import CountedEntropy, host_channel, specimen

ENTRIES: Final = 8
ENTRY_BYTES: Final = 255
FILE_BYTES: Final = 32_768
STEP_CHARACTERS: Final = 32
LOADED: Final = 4
PIN_CHARACTERS: Final = 16
TRIES: Final[dict[PinKind, int]] = {
    "four_digits": 3, "signature_password": 5, "number_a": 10, "number_b": 10, "birth_digits": 10,
}  # fmt: skip
COMMANDS: Final = (3, 6)
"""In the place of thousands in one card write."""
STAGED_BYTES: Final = (500, 900)
"""In the place of a quarter of a megabyte."""
_WRONG: Final = b"no one's PIN"
_OK, _LENGTH, _DATA, _BLOCKED, _FULL, _ENDED = 0x9000, 0x6700, 0x6A80, 0x6984, 0x6A84, 0x6985
_TRIES_LEFT: Final = 0x63C0
Steps = Iterator[tuple[str, int, int]]
"""What was asked, the word that is due, and the word that came."""


def wrong_at_a_limit(seed: int) -> str:
    """What a fresh card says otherwise than promised at one of its limits; nothing if it keeps them."""
    random = Random(f"{seed}/chip limits")  # noqa: S311 - repeatable on purpose
    card = _Card(seed)
    for asked, due, came in random.choice(_LIMITS)(card, random):
        if due != came:
            return f"{asked}: {came:04X}, not {due:04X}"
    return ""


class _Card:
    """A card in use, and the owner's end of its channels."""

    def __init__(self, seed: int) -> None:
        image = specimen().image
        self.chip = Chip(image, lambda _: None, CountedEntropy(f"{seed} limits"))
        self._writes = 0

    def plain(self, command: bytes) -> int:
        """The word that a command is answered with."""
        return int.from_bytes(self.chip.transmit(command)[-2:], "big")

    def write(self, commands: Sequence[IssuerCommand], aid: bytes = ISD, step: str = "limit") -> list[int]:
        """A card write of one domain: the words of its commands, and of the commit of those that were taken."""
        self._writes += 1
        write_id = self._writes.to_bytes(16, "big")
        words = self._through(aid, [issuer.begin(aid, write_id), *commands])[1:]
        taken = [command for command, word in zip(commands, words, strict=True) if word == _OK]
        digest = issuer.running_digest(issuer.start_digest(write_id), taken)
        return [*words, *self._through(ISD, [issuer.begin(ISD, write_id), issuer.commit(write_id, step, digest)])[1:]]

    def _through(self, aid: bytes, commands: Sequence[IssuerCommand]) -> list[int]:
        self.plain(apdu.build(0x00, 0xA4, 0x04, 0x0C, aid))
        challenge = self._writes.to_bytes(8, "big")
        channel = host_channel(aid, challenge, self.chip.transmit(issuer.initialize_update(challenge)))
        return [self.plain(command) for command in channel.script(commands)][1:]


def _entries(card: _Card, random: Random) -> Steps:
    """In one card write or in several."""
    at_once, done = random.choice((1, 3, ENTRIES + 1)), 0
    while done <= ENTRIES:
        count = min(at_once, ENTRIES + 1 - done)
        words = card.write([issuer.append_particulars(f"entry {done + each}") for each in range(count)])
        for word in words[:-1]:
            done += 1
            yield f"entry {done}", _OK if done <= ENTRIES else _FULL, word
        yield f"the commit of entry {done}", _OK, words[-1]
    held = _applet(card.chip.image, JUKI).ef(layout.JUKI_PARTICULARS)
    last = f"entry {ENTRIES - 1}".encode()
    yield "the last entry", _OK, _OK if held and held.content.endswith(bytes((ENTRIES, len(last))) + last) else 0


def _entry(card: _Card, _random: Random) -> Steps:
    for length, due in ((0, _LENGTH), (ENTRY_BYTES, _OK), (ENTRY_BYTES + 1, _LENGTH)):
        yield f"an entry of {length} bytes", due, card.write([issuer.append_particulars("x" * length)])[0]


def _file(card: _Card, random: Random) -> Steps:
    more = random.choice((0, 1, 700))
    words = card.write(issuer.put_ef(FACE, 2, bytes(FILE_BYTES + more)))
    yield f"a file of {FILE_BYTES + more} bytes", _FULL if more else _OK, words[-2]


def _commands(card: _Card, random: Random) -> Steps:
    most = random.choice(COMMANDS)
    with _at_most("COMMANDS_MAX", most):
        words = card.write([issuer.close_pin_windows(TEXT)] * (most + 2))
    for number, word in enumerate(words[:-1], 1):
        yield f"command {number} of {most}", _OK if number <= most else _FULL, word
    yield "their commit", _OK, words[-1]


def _staged(card: _Card, random: Random) -> Steps:
    most, size = random.choice(STAGED_BYTES), random.choice((50, 100, 250))
    with _at_most("STAGED_MAX", most):
        words = card.write([IssuerCommand(ISD, staging.APPEND_PARTICULARS, 0, 0, bytes(size))] * (ENTRIES + 1))
    for number, word in enumerate(words[:-1], 1):
        yield f"byte {number * size} of {most}", _OK if number * size <= most and number <= ENTRIES else _FULL, word


def _step(card: _Card, _random: Random) -> Steps:
    for length, due in ((STEP_CHARACTERS + 1, _DATA), (0, _DATA), (STEP_CHARACTERS, _OK)):
        words = card.write([issuer.close_pin_windows(TEXT)], step="s" * length)
        yield f"a step of {length} characters", due, words[-1]
        card.chip.reset()  # what was not committed is given up


def _loaded(card: _Card, random: Random) -> Steps:
    at_once = random.choice((1, LOADED + 1))
    applets = [_library(number) for number in range(LOADED + 1)]
    for start in range(0, len(applets), at_once):
        words = card.write([issuer.install_applet(each) for each in applets[start : start + at_once]])
        for number, word in enumerate(words[:-1], start + 1):
            yield f"applet {number}", _OK if number <= LOADED else _FULL, word


def _tries(card: _Card, random: Random) -> Steps:
    """Each wrong value costs one try, the last one too; then nothing opens it, not even the right one."""
    applet, pin = random.choice([(each, pin) for each in card.chip.image.applets for pin in each.pins if pin.value])
    tries, name = TRIES[pin.kind], f"{pin.kind} {pin.fid:02x}"
    yield f"{name} at first", _TRIES_LEFT | tries, _verify(card, applet, pin, b"")
    for left in range(tries - 1, 0, -1):
        yield f"{name}, a wrong value", _TRIES_LEFT | left, _verify(card, applet, pin, _WRONG)
    if random.randrange(2):
        yield f"{name} at the last try", _OK, _verify(card, applet, pin, pin.value)
        yield f"{name} afterwards", _TRIES_LEFT | tries, _verify(card, applet, pin, b"")
        return
    yield f"{name}, the last wrong value", _TRIES_LEFT, _verify(card, applet, pin, _WRONG)
    yield f"{name}, blocked", _BLOCKED, _verify(card, applet, pin, random.choice((_WRONG, pin.value)))


def _long_pin(card: _Card, random: Random) -> Steps:
    applet, pin = random.choice([(each, pin) for each in card.chip.image.applets for pin in each.pins if pin.value])
    left = TRIES[pin.kind] - 1
    yield "a PIN that is too long", _LENGTH, _verify(card, applet, pin, b"9" * (PIN_CHARACTERS + 1))
    yield "a PIN as long as may be", _TRIES_LEFT | left, _verify(card, applet, pin, b"Z" * PIN_CHARACTERS)


def _lives(card: _Card, _random: Random) -> Steps:
    """A card that has ended takes nothing more, for ever."""
    yield "the end", _OK, card.write([issuer.set_life_state("terminated")])[0]
    applet = _applet(card.chip.image, TEXT)
    yield "a PIN after the end", _ENDED, _verify(card, applet, applet.pins[0], applet.pins[0].value)


_LIMITS: Final[tuple[Callable[[_Card, Random], Steps], ...]] = (
    _entries, _entries, _entry, _file, _commands, _staged, _step, _loaded, _tries, _tries, _tries, _long_pin, _lives,
)  # fmt: skip


def _verify(card: _Card, applet: Applet, pin: Pin, value: bytes) -> int:
    card.plain(apdu.build(0x00, 0xA4, 0x04, 0x0C, applet.aid))
    return card.plain(apdu.build(0x00, 0x20, 0x00, 0x80 | pin.fid, value))


def _applet(image: Image, aid: bytes) -> Applet:
    return next(each for each in image.applets if each.aid == aid)


def _library(number: int) -> Applet:
    return Applet(bytes.fromhex("D392000100011000") + bytes((number,)), ISD, efs=(Ef(1, Access(free=True)),))


@contextmanager
def _at_most(limit: str, most: int) -> Iterator[None]:
    """A limit of card writes, made small for a moment."""
    before = getattr(staging, limit)
    setattr(staging, limit, most)
    try:
        yield
    finally:
        setattr(staging, limit, before)
