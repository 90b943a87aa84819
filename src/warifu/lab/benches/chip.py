"""How fast the chip is: commands and signatures in memory, and commands through pcscd and vpcd as a client sees them.

Each beside its limit, slices interleaved: parsing alone; the bare RSA operation of the library; a card in the other
slot of the same reader that answers the same number of bytes without a thought.
"""

import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import padding, utils

from warifu.adapters.reader.files import store_card
from warifu.adapters.reader.pcsc import PcscCard, reader_names
from warifu.adapters.reader.pcscd import Pcscd
from warifu.chip import apdu, client, layout
from warifu.chip.card import Chip
from warifu.chip.keys import load_private_key
from warifu.kernel.errors import Fault, Unavailable
from warifu.lab.simulation.specimen import CARD_ID, CountedEntropy, drive, specimen, transmit_of

RATIOS: Final = 9
_TURNS: Final = 10
_START_S: Final = 20.0
_DIGEST_INFO: Final = bytes.fromhex("3031300D060960864801650304020105000420") + bytes(32)
_READING: Final = tuple(
    bytes.fromhex(command)
    for command in (
        "00A4040C0AD392F000260100000001",
        "00A4020C02000A",
        "00B0000004",
        "00B0000000",
        "00B0010000",
        "00B0020000",
        "00B0030000",
        "00B0040000",
    )
)
"""What a client sends to read a certificate."""
_PIECE: Final = bytes.fromhex("00B0000000")

Result = dict[str, Any]


async def bench_chip(seconds: float) -> list[Result]:
    """All of it, for about so many seconds."""
    slice_s = max(seconds / (2 * RATIOS * 3), 0.05)
    return [_memory(slice_s), _signatures(slice_s), await _vpcd(slice_s)]


def _compared(name: str, unit: str, limit: str, pairs: list[tuple[float, float]]) -> Result:
    runs = [ours / other for ours, other in pairs]
    return {
        "name": name,
        "value": statistics.median(ours for ours, _ in pairs),
        "unit": unit,
        "limit": limit,
        "limit_value": statistics.median(other for _, other in pairs),
        "ratio": statistics.median(runs),
        "runs": runs,
    }


def _interleaved(
    ours: Callable[[], object], other: Callable[[], object], slice_s: float, per_call: int = 1
) -> list[tuple[float, float]]:
    """Nine pairs of rates. Within each, both take turns ten times: what else the machine does hits both alike."""
    _pair(ours, other, slice_s / _TURNS, per_call)
    return [_pair(ours, other, slice_s, per_call) for _ in range(RATIOS)]


def _pair(
    ours: Callable[[], object], other: Callable[[], object], slice_s: float, per_call: int
) -> tuple[float, float]:
    counts, seconds = [0, 0], [0.0, 0.0]
    for _ in range(_TURNS):
        for which, work in enumerate((ours, other)):
            count, took = _turn(work, slice_s / _TURNS)
            counts[which] += count * per_call
            seconds[which] += took
    return counts[0] / seconds[0], counts[1] / seconds[1]


def _turn(work: Callable[[], object], turn_s: float) -> tuple[int, float]:
    begun = time.perf_counter()
    end, count = begun + turn_s, 0
    while time.perf_counter() < end:
        work()
        count += 1
    return count, time.perf_counter() - begun


# ---- in memory ---------------------------------------------------------------------------------------------------


def _chip() -> Chip:
    return Chip(specimen().image, lambda _: None, CountedEntropy("bench"))


def _memory(slice_s: float) -> Result:
    chip = _chip()

    def ours() -> None:
        for command in _READING:
            if chip.transmit(command)[-2] != 0x90:  # noqa: PLR2004 - 9000
                raise Fault("the specimen does not answer")

    def parsing() -> None:
        for command in _READING:
            apdu.parse(command)

    pairs = _interleaved(ours, parsing, slice_s, len(_READING))
    return _compared("chip.memory", "commands/s, a certificate read", "parsing the same commands", pairs)


def _signatures(slice_s: float) -> Result:
    """COMPUTE DIGITAL SIGNATURE beside the library's operation with the same key and input."""
    chip = _chip()
    ref = layout.AUTHENTICATION_PIN
    drive(client.verify_pin(transmit_of(chip), layout.JPKI, ref, specimen().pins[layout.JPKI, ref]))
    command = apdu.build(0x80, 0x2A, 0x00, 0x80 | layout.AUTHENTICATION_KEY, _DIGEST_INFO, 256)
    key = load_private_key(specimen().private_keys[0])

    def ours() -> None:
        if len(chip.transmit(command)) != 256 + 2:
            raise Fault("the specimen does not sign")

    def raw() -> bytes:
        return key.sign(_DIGEST_INFO, padding.PKCS1v15(), utils.NoDigestInfo())

    pairs = _interleaved(ours, raw, slice_s)
    return _compared("chip.signatures", "RSA-2048 signatures/s", "the library's signatures with the same key", pairs)


# ---- through pcscd and vpcd --------------------------------------------------------------------------------------


async def _vpcd(slice_s: float) -> Result:
    name = "chip.vpcd"
    try:
        with tempfile.TemporaryDirectory(prefix="warifu-bench-") as folder:
            pairs = await _through_pcscd(Path(folder), slice_s)
    except Unavailable as error:
        return {"name": name, "skipped": str(error)}
    limit = "the same through a card that answers as many bytes without a thought"
    return _compared(name, "READ BINARY of 256 bytes/s, one PC/SC client", limit, pairs)


async def _through_pcscd(folder: Path, slice_s: float) -> list[tuple[float, float]]:
    cards = folder / "cards"
    cards.mkdir()
    store_card(cards, CARD_ID, specimen().image)
    here = [sys.executable, "-m", "warifu.lab.benches.chip"]
    async with Pcscd(folder / "pcscd") as pcscd:
        holder = await _started(pcscd, sys.executable, "-m", "warifu.adapters.reader", str(cards), CARD_ID)
        try:
            null = await _started(pcscd, *here, "null", str(pcscd.port + 1))
            try:
                meeting = pcscd.command(*here, "client", str(slice_s))
                process = await asyncio.create_subprocess_exec(*meeting, stdout=subprocess.PIPE)
                out, _ = await process.communicate()
            finally:
                null.kill()
                await null.wait()
        finally:
            holder.terminate()
            await holder.wait()
    if process.returncode:
        raise Fault("the PC/SC client failed")
    return msgspec.json.decode(out, type=list[tuple[float, float]])


async def _started(pcscd: Pcscd, *arguments: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(*pcscd.command(*arguments), stdout=subprocess.PIPE)
    if process.stdout is None:
        raise Fault("no pipe")
    async with asyncio.timeout(_START_S):
        if await process.stdout.readline() != b"inserted\n":
            raise Fault("the card was not inserted")
    return process


def _null_card(port: int) -> None:
    """A card that answers 256 bytes and 9000 to everything."""
    answer = (258).to_bytes(2, "big") + bytes(256) + b"\x90\x00"
    atr = len(layout.CONTACT_ATR).to_bytes(2, "big") + layout.CONTACT_ATR
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        told = False
        while True:
            message = _message(link)
            if len(message) > 1:
                link.sendall(answer)
            elif message == b"\x04":
                link.sendall(atr)
                if not told:
                    told = True
                    sys.stdout.write("inserted\n")
                    sys.stdout.flush()


def _message(link: socket.socket) -> bytes:
    return _exactly(link, int.from_bytes(_exactly(link, 2), "big"))


def _exactly(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        piece = link.recv(count - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data


def _client(slice_s: float) -> None:
    """Print the pairs of rates: the first slot's card, the second's."""
    first, second = (PcscCard(name.encode()) for name in sorted(reader_names())[:2])
    for command in _READING:
        first.transmit(command)
    pairs = _interleaved(lambda: first.transmit(_PIECE), lambda: second.transmit(_PIECE), slice_s)
    first.close()
    second.close()
    sys.stdout.buffer.write(msgspec.json.encode(pairs))


if __name__ == "__main__":
    if sys.argv[1] == "null":
        _null_card(int(sys.argv[2]))
    else:
        _client(float(sys.argv[2]))
