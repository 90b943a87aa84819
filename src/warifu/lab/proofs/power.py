"""``lab prove power-pull``: a process that runs a chip on a card file is killed (SIGKILL) at a random instant.

What the process does follows from the seed, and the chip is a function of its image and the commands: so the same
sequence run in memory gives every image there can be, in order. After the kill the file must be one of them, byte for
byte, and no older than what the last answered command had made durable: then nothing is torn, no try is won back, and a
card write is there whole, with its tuple, or not at all. The promises between neighbouring images are checked by
``chip_oracle``, as in the fuzz; and the card left behind must still be reachable: a channel, a write, a PIN.

The next round goes on with the card as it was left.
"""

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Final

from msgspec import Struct

from warifu.adapters.reader.files import card_path, store_card
from warifu.chip import apdu, client, issuer, layout
from warifu.chip.card import Chip
from warifu.chip.errors import ImageDamaged
from warifu.chip.image import Image, decode
from warifu.chip.layout import ISD, JPKI, JUKI, TEXT
from warifu.chip.personalise import card_point
from warifu.kernel.errors import Fault, WarifuError
from warifu.lab.proofs.catalog import Part, Violation
from warifu.lab.scenarios.chip_oracle import broken
from warifu.lab.simulation.specimen import (
    CARD_ID,
    CountedEntropy,
    PinValues,
    drive,
    host_channel,
    spare_key,
    specimen,
    transmit_of,
    write,
)

STEPS: Final = 12
"""What a process does before it ends by itself: card writes, PINs, changes."""
_START_S: Final = 30.0
_ROUNDS_ON_ONE_CARD: Final = 50
_DIGITS: Final = 10_000

Send = Callable[[bytes], bytes]


class Trace(Struct, frozen=True):
    """A sequence as it runs in memory: its images, first to last, and how many there were after each command."""

    images: tuple[bytes, ...]
    counts: tuple[int, ...]
    violations: tuple[str, ...]


# ---- what the card lives through ---------------------------------------------------------------------------------


def live(chip: Chip, seed: int, send: Send) -> None:
    """The sequence of this seed: the same commands for the same image, whoever runs it."""
    random = Random(f"{seed}/power")  # noqa: S311 - repeatable on purpose
    for step in range(STEPS):
        random.choices(_STEPS, _WEIGHTS)[0](chip, random, send, f"{seed} {step}")


def _verify(chip: Chip, random: Random, send: Send, _: str) -> None:
    """A PIN, right or wrong; the counter moves either way."""
    aid, ref = random.choice(sorted(specimen().pins))
    value = _value(chip.image, aid, ref) if random.random() < 0.5 else b"0000"  # noqa: PLR2004 - as often right as wrong
    send(_select(aid))
    send(apdu.build(0x00, 0x20, 0x00, 0x80 | ref, value))


def _change(chip: Chip, random: Random, send: Send, _: str) -> None:
    """A PIN changed by its holder."""
    aid, ref = random.choice(((TEXT, layout.TEXT_PIN), (JPKI, layout.AUTHENTICATION_PIN)))
    send(_select(aid))
    send(apdu.build(0x00, 0x20, 0x00, 0x80 | ref, _value(chip.image, aid, ref)))
    send(apdu.build(0x00, 0x24, 0x01, 0x80 | ref, f"{random.randrange(_DIGITS):04}".encode()))


def _card_write(_: Chip, random: Random, send: Send, name: str) -> None:
    """A write of both domains: its id stands in a file of each, and PINs are unlocked by it."""
    write_id = CountedEntropy(name).random_bytes(16)
    jpki = [*issuer.put_ef(JPKI, layout.TOKEN_INFO, write_id), issuer.unlock_pin(JPKI, layout.AUTHENTICATION_PIN)]
    if random.random() < 0.3:  # noqa: PLR2004 - now and then with a key
        jpki.append(issuer.put_key_pair("signature", spare_key(random.randrange(4))))
    isd = [
        *issuer.put_ef(JUKI, layout.JUKI_RESIDENT_CODE, write_id),
        *issuer.put_ef(TEXT, 1, random.randbytes(random.choice((17, 3000)))),
        *(issuer.unlock_pin(aid, ref) for aid, ref in specimen().pins if aid != JPKI),
    ]
    digest = issuer.running_digest(issuer.start_digest(write_id), (*jpki, *isd))
    ends = [issuer.commit(write_id, "power", digest)] * 5 + [issuer.rollback(write_id)]
    _through(send, JPKI, [issuer.begin(JPKI, write_id), *jpki], random)
    _through(send, ISD, [issuer.begin(ISD, write_id), *isd, random.choice(ends)], random)


def _window(chip: Chip, random: Random, send: Send, name: str) -> None:
    """A one-use window opened by a write and used."""
    write_id = CountedEntropy(name).random_bytes(16)
    opening = issuer.open_pin_window(TEXT, layout.TEXT_PIN)
    marks = [
        *issuer.put_ef(JUKI, layout.JUKI_RESIDENT_CODE, write_id),
        opening,
    ]
    token = list(issuer.put_ef(JPKI, layout.TOKEN_INFO, write_id))
    digest = issuer.running_digest(issuer.start_digest(write_id), (*token, *marks))
    _through(send, JPKI, [issuer.begin(JPKI, write_id), *token], random)
    end = issuer.commit(write_id, "window", digest)
    _through(send, ISD, [issuer.begin(ISD, write_id), *marks, end], random)
    key = client.CardKey(CARD_ID, card_point(chip.image.card_key))
    pin = f"{random.randrange(_DIGITS):04}"
    sealed = client.seal_pin(key, client.PinWindow(TEXT, layout.TEXT_PIN, write_id), pin, CountedEntropy(f"{name} pin"))
    send(_select(TEXT))
    send(apdu.build(0x80, 0x2C, 0x00, layout.TEXT_PIN, sealed))


_STEPS: Final = (_verify, _change, _card_write, _window)
_WEIGHTS: Final = (5, 2, 4, 1)


def _through(send: Send, aid: bytes, commands: list[issuer.IssuerCommand], random: Random) -> None:
    challenge = random.randbytes(8)
    send(_select(aid))
    made = host_channel(aid, challenge, send(issuer.initialize_update(challenge)))
    for command in made.script(commands):
        send(command)


def _select(aid: bytes) -> bytes:
    return apdu.build(0x00, 0xA4, 0x04, 0x0C, aid)


def _value(image: Image, aid: bytes, ref: int) -> bytes:
    applet = image.applet(aid)
    pin = None if applet is None else applet.pin(ref)
    if pin is None:
        raise Fault("the specimen lost a PIN")
    return pin.value


# ---- beforehand, in memory ---------------------------------------------------------------------------------------


def rehearse(image: bytes, seed: int) -> Trace:
    """Every image this sequence makes durable, and what is wrong between neighbours."""
    saved, counts, wrong = [image], [1], list[str]()
    chip = Chip(image, saved.append, CountedEntropy(f"{seed}"))

    def send(command: bytes) -> bytes:
        before, count = chip.image, len(saved)
        response = chip.transmit(command)
        if chip.image is not before:
            wrong.extend(broken(before, chip.image, command, response))
        if len(saved) - count > 1 and command[1] != 0x20:  # noqa: PLR2004 - VERIFY saves twice: lowered, then full
            wrong.append(f"command {command[1]:02X} saved more than once")
        counts.append(len(saved))
        return response

    live(chip, seed, send)
    return Trace(tuple(saved), tuple(counts), tuple(wrong))


# ---- the process that is killed ----------------------------------------------------------------------------------


def _victim(folder: str, seed: int, told: Connection) -> None:
    """Live on the card file; tell each answered command."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    directory = Path(folder)
    image = card_path(directory, CARD_ID).read_bytes()
    chip = Chip(image, lambda changed: store_card(directory, CARD_ID, changed), CountedEntropy(f"{seed}"))

    def send(command: bytes) -> bytes:
        response = chip.transmit(command)
        told.send_bytes(b".")
        return response

    told.send_bytes(b"ready")
    live(chip, seed, send)
    told.close()


class Laboratory:
    """Runs victims and judges what they leave behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lasts_s = 0.05
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])

    def round(self, seed: int) -> tuple[list[str], dict[str, float]]:
        """Kill once; what is wrong, and what was seen."""
        image = card_path(self.folder, CARD_ID).read_bytes()
        trace = rehearse(image, seed)
        answered, ended = self._kill(seed)
        left = card_path(self.folder, CARD_ID).read_bytes()
        wrong = [*trace.violations, *judge(trace, left, answered), *reachable(left)]
        lost = trace.counts[min(answered, len(trace.counts) - 1)] < len(trace.images)
        return wrong, {"kills before the end": float(not ended), "kills that lost commands": float(lost)}

    def _kill(self, seed: int) -> tuple[int, bool]:
        """Start a victim, kill it at a random instant; how many commands it had told, and whether it had ended."""
        hear, tell = self._context.Pipe(duplex=False)
        victim = self._context.Process(target=_victim, args=(str(self.folder), seed, tell), daemon=True)
        victim.start()
        tell.close()
        try:
            if not hear.poll(_START_S):
                raise Fault("the victim does not start")
            with contextlib.suppress(EOFError):
                hear.recv_bytes()
            begun = time.perf_counter()
            victim.join(Random(f"{seed}/instant").random() * 1.1 * self.lasts_s)  # noqa: S311 - repeatable on purpose
            ended = not victim.is_alive()
            if victim.pid is not None and not ended:
                with contextlib.suppress(ProcessLookupError):  # it ended by itself at this very instant
                    os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            if ended:
                self.lasts_s = max(time.perf_counter() - begun, 0.001)
            else:
                self.lasts_s *= 1.02  # until one ends by itself and tells how long it lasts
            return _count(hear), ended
        finally:
            hear.close()
            victim.close()


def _count(hear: Connection) -> int:
    """Messages until the other end is gone. One that the kill cut in two does not count."""
    count = 0
    while True:
        try:
            hear.recv_bytes()
        except (EOFError, OSError):
            return count
        count += 1


def judge(trace: Trace, left: bytes, answered: int) -> list[str]:
    """What is wrong with the card that was left: ``answered`` commands had been answered for certain."""
    try:
        image = decode(left)
    except ImageDamaged:
        return ["the image does not load"]
    oldest = trace.counts[min(answered, len(trace.counts) - 1)] - 1
    # One more may have been answered and not told, and one more begun.
    newest = trace.counts[min(answered + 2, len(trace.counts) - 1)] - 1
    if left not in trace.images:
        return ["the image is none of those the sequence makes"]
    if left not in trace.images[oldest : newest + 1]:
        return ["the image is older than an answer, or newer than any command"]
    return list(consistent(image))


def consistent(image: Image) -> Iterator[str]:
    """The tuple and what was written with it: both files hold the id of the last write, if it was committed."""
    last = image.last_write
    if last is None or not last.committed or last.step == "specimen":
        return
    jpki, juki = image.applet(JPKI), image.applet(JUKI)
    token = None if jpki is None else jpki.ef(layout.TOKEN_INFO)
    code = None if juki is None else juki.ef(layout.JUKI_RESIDENT_CODE)
    if token is None or code is None or {token.content, code.content} != {last.write_id}:
        yield "the last write's tuple and files do not agree"


def reachable(left: bytes) -> list[str]:
    """Whether some command sequence still reaches the card: a channel, a write, and each PIN after an unlock."""
    saved = [left]
    try:
        chip = Chip(left, saved.append, CountedEntropy("after"))
        pins: PinValues = specimen().pins
        unlocks = [issuer.unlock_pin(aid, ref) for aid, ref in pins]
        write(
            chip,
            b"after the kill!!",
            jpki=[command for command in unlocks if command.aid == JPKI],
            isd=[command for command in unlocks if command.aid == ISD],
        )
        for aid, ref in pins:
            value = _value(chip.image, aid, ref).decode("ascii")
            drive(client.verify_pin(transmit_of(chip), aid, ref, value))
    except (WarifuError, ImageDamaged) as error:
        return [f"the card cannot be reached any more: {error.code}"]
    return []


def run(count: int, first: int = 0) -> Iterator[Part]:
    """Prove it with ``count`` kills from seed ``first`` on."""
    with tempfile.TemporaryDirectory(prefix="warifu-power-") as name:
        laboratory = Laboratory(Path(name))
        for at in range(count):
            if at % _ROUNDS_ON_ONE_CARD == 0:
                store_card(laboratory.folder, CARD_ID, specimen().image)
            wrong, notes = laboratory.round(first + at)
            yield Part(1, tuple(Violation(first + at, text) for text in wrong), notes)
