"""The set-up as it was in 2016, run for real against a chip: 29 exchanges terminal-CS, 146 chip reads and writes.

The documents give the two totals and that each applet is authenticated one by one, written and verified. How the totals
divide is *inferred*: five exchanges for each of the five applets (challenge, authentication, write, verification, log)
and four around them; what is written and read back goes in blocks of 16 bytes. Every command is a real one: each
authentication is an SCP03 channel of the applet's domain, every write is staged and committed, every verification
compares what the chip gives back.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from msgspec import Struct

from warifu.chip import apdu, contents, layout
from warifu.chip.issuer import (
    ISD,
    JPKI,
    IssuerCommand,
    begin,
    commit,
    initialize_update,
    put_ef,
    running_digest,
    set_certificate_availability,
    set_life_state,
    start_digest,
)
from warifu.chip.reading import STATUS_TAG
from warifu.domain.cards.contents import KEY_ID
from warifu.domain.setup_timing.model import Work
from warifu.kernel.calendar import date_text
from warifu.lend.errors import ChipRefused
from warifu.lend.maker import Making

BLOCK: Final = 16
"""Bytes written or read by one command."""

Commands = Sequence[bytes]


class Written(Struct, frozen=True):
    """A file that the set-up writes and verifies."""

    fid: int
    content: bytes
    records: bool = False
    by_put_ef: bool = True
    """False: another command writes it."""


class Part(Struct, frozen=True):
    """One applet's share."""

    aid: bytes
    files: tuple[Written, ...]
    extra: tuple[IssuerCommand, ...] = ()
    """Commands beside the files'."""


class LegacySetup:
    """CS and terminal of one legacy set-up of a card fresh from the factory; counts what passes between them."""

    def __init__(self, making: Making) -> None:
        self.making = making
        self.chip = making.chip
        self.exchanges = 0
        self.chip_commands = 0
        self._responses: list[bytes] = []

    async def run(self) -> Work:
        """Do it all; what it took. ``ChipRefused`` when the chip refuses, or does not give back what was written."""
        async for commands in self._cs():
            self.exchanges += 1  # the last answers go to the CS, the next commands come back
            self._responses = [await self._transmit(command) for command in commands]
        return Work("legacy, counted", self.exchanges, self.chip_commands)

    async def _transmit(self, command: bytes) -> bytes:
        self.chip_commands += 1
        response = await self.chip.transmit(command)
        if response[-2:] != apdu.word(apdu.OK):
            raise ChipRefused(f"command {self.chip_commands}, status {response[-2:].hex()}")
        return response

    async def _cs(self) -> AsyncIterator[Commands]:
        """The CS's side: yields the commands of each exchange, sees the responses in the next."""
        about = [_get_data(tag) for tag in _ABOUT_CARD]
        yield [_select(ISD), *about, _get_data(STATUS_TAG, apdu.EXTENDED_LE_MAX)]
        for group in self._groups():
            write_id, done = self.making.maker.entropy.random_bytes(16), list[IssuerCommand]()
            for part in group:
                async for commands in self._write(part, write_id, done):
                    yield commands
            for part in group:
                async for commands in self._verify(part):
                    yield commands
        yield [_select(ISD), _get_data(STATUS_TAG, apdu.EXTENDED_LE_MAX)]
        yield about
        yield []  # log output

    async def _write(self, part: Part, write_id: bytes, done: list[IssuerCommand]) -> AsyncIterator[Commands]:
        """Challenge, authentication, write; ``done`` is what the same card write holds already."""
        domain = layout.domain_of(part.aid)
        challenge = self.making.maker.entropy.random_bytes(8)
        yield [_select(domain), initialize_update(challenge)]
        channel = self.chip.host_channel(domain, challenge, self._responses[1])
        commands = [*(command for file in part.files for command in _put(part.aid, file)), *part.extra]
        done += commands
        end = () if domain == JPKI else (commit(write_id, "set_up", running_digest(start_digest(write_id), done)),)
        authenticate, *script = channel.script((begin(part.aid, write_id), *commands, *end))
        yield [authenticate]
        yield script

    async def _verify(self, part: Part) -> AsyncIterator[Commands]:
        """Verification and log output."""
        yield [_select(part.aid), *(command for file in part.files for command in _read(file))]
        given = b"".join(response[:-2] for response in self._responses)
        if given != b"".join(file.content for file in part.files):
            raise ChipRefused("what was read back is not what was written")
        yield []

    def _groups(self) -> tuple[tuple[Part, ...], ...]:
        """The five applets. JPKI's domain cannot commit: its part is committed with the common applet's."""
        card_id, municipality = self.making.card_id, self.making.holder.person.municipality[:5]
        expiry = date_text(self.making.expires_on)
        jpki = Part(
            JPKI,
            (
                Written(layout.TOKEN_INFO, contents.token_info(card_id)),
                Written(layout.CERTIFICATE_AVAILABILITY, bytes(3), by_put_ef=False),
            ),
            (set_certificate_availability(signature=False, authentication=False),),
        )
        record = contents.common_record(card_id, municipality, expiry)
        common = Part(layout.COMMON, (Written(layout.COMMON_RECORD, record, records=True),))
        text = Part(layout.TEXT, (Written(0x0005, contents.text_basic_info(KEY_ID)),))
        face = Part(layout.FACE, (Written(0x0003, contents.face_basic_info(KEY_ID, municipality, KEY_ID)),))
        juki = Part(
            layout.JUKI, (Written(0x0002, contents.record(0x02, KEY_ID), records=True),), (set_life_state("set_up"),)
        )
        return (jpki, common), (text,), (face,), (juki,)


_ABOUT_CARD: Final = (0x0042, 0x0045, 0x00F0, 0x00F2)


def _put(aid: bytes, file: Written) -> tuple[IssuerCommand, ...]:
    if not file.by_put_ef:
        return ()
    return put_ef(aid, file.fid, file.content, chunk=len(file.content) if file.records else BLOCK)


def _read(file: Written) -> list[bytes]:
    select = apdu.build(0x00, 0xA4, 0x02, 0x0C, file.fid.to_bytes(2, "big"))
    if file.records:
        return [select, apdu.build(0x00, 0xB2, 1, 0x04, b"", apdu.SHORT_LE_MAX)]
    offsets = range(0, len(file.content), BLOCK)
    return [select, *(apdu.build(0x00, 0xB0, *divmod(at, 256), b"", BLOCK) for at in offsets)]


def _select(aid: bytes) -> bytes:
    return apdu.build(0x00, 0xA4, 0x04, 0x0C, aid)


def _get_data(tag: int, expected: int = apdu.SHORT_LE_MAX) -> bytes:
    return apdu.build(0x00, 0xCA, *divmod(tag, 256), b"", expected)
