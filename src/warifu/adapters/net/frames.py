"""The frame: 4 bytes length (big-endian, of all that follows), 8 bytes request id, 1 byte kind, payload.

Requests and replies of many callers share a connection; a reply carries its request's id. Request ids of a connection
only rise, so none is ever seen twice. The server speaks first, with a ping of id 0: only then does the client know that
its certificate was accepted and that a living server stands behind the address, and only then does it send.
"""

import asyncio
from struct import Struct
from typing import NamedTuple, cast

from warifu.adapters.net.limits import Limits
from warifu.kernel.errors import Malformed

HEADER = Struct(">IQB")
AFTER_LENGTH = HEADER.size - 4

REQUEST, REPLY, PING, PONG, GOAWAY = range(1, 6)
NOW, ONCE_ELSEWHERE = 0, 1
"""A goaway's id: send nothing more here; or go on until you have another connection, and then send nothing more."""


class FrameError(Malformed):
    """The bytes are no frame of ours; the stream cannot be read any further.

    Args:
        text: what is wrong with them.
        request_id: the id in the frame's header, when there was one.
    """

    def __init__(self, text: str, request_id: int | None = None) -> None:
        super().__init__(text)
        self.request_id = request_id


class Frame(NamedTuple):
    """One frame, without its length."""

    request_id: int
    kind: int
    payload: bytes


def encode_frame(frame: Frame) -> bytes:
    """The frame's bytes."""
    return HEADER.pack(AFTER_LENGTH + len(frame.payload), frame.request_id, frame.kind) + frame.payload


class FrameParser:
    """Cuts a stream into frames, whatever pieces it comes in; copies each byte at most twice.

    Args:
        max_payload_bytes: a frame that announces more is an error before it is received.
    """

    def __init__(self, max_payload_bytes: int) -> None:
        self._longest = AFTER_LENGTH + max_payload_bytes
        self._data = b""
        self._at = 0
        self._later: list[bytes] = []
        self._have = 0
        self._need = HEADER.size

    @property
    def begun(self) -> bool:
        """Whether bytes of an unfinished (or not yet taken) frame are here."""
        return self._have > 0

    def feed(self, data: bytes) -> None:
        """Add bytes as they came."""
        self._later.append(data)
        self._have += len(data)

    def next(self) -> Frame | None:
        """The next whole frame, or None until more bytes come. ``FrameError`` when there can be none."""
        if self._have < self._need:
            return None
        if len(self._data) - self._at < self._need:
            self._join()
        length, request_id, kind = HEADER.unpack_from(self._data, self._at)
        if not AFTER_LENGTH <= length <= self._longest:
            raise FrameError(f"a frame of {length} bytes", request_id)
        end = self._at + 4 + length
        if self._have < 4 + length:
            self._need = 4 + length
            return None
        payload = self._data[self._at + HEADER.size : end]
        self._at = end
        self._have -= 4 + length
        self._need = HEADER.size
        return Frame(request_id, kind, payload)

    def _join(self) -> None:
        self._data = b"".join((self._data[self._at :], *self._later))
        self._at = 0
        self._later.clear()


class FrameConnection(asyncio.Protocol):
    """One connection of frames: parsing, coalesced writing, back-pressure, and its clocks.

    Everything written within one turn of the loop leaves as one TLS record and one system call: that, not the parsing,
    is where the speed of frames comes from. A subclass says what opening, frames, silence and the end mean to it.
    """

    def __init__(self, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self.limits = limits
        self.transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.reason = "closed by the peer"
        self.writable = self.aborted = False
        self._parser = FrameParser(limits.max_payload_bytes)
        self._outgoing: list[bytes] = []
        self._reading_held = self._taking = self._closing = False
        self._heard_at = self._begun_at = self._stalled_at = self._loop.time()
        self._clock: asyncio.TimerHandle | None = None

    # What a subclass fills in.

    def on_open(self) -> None:
        """The connection is made."""

    def on_frame(self, frame: Frame) -> None:
        """A request, a reply or a goaway came. May raise ``FrameError``."""

    def on_malformed(self, error: FrameError) -> None:
        """The stream cannot be read any further; the connection ends after this."""

    def on_writable(self) -> None:
        """Writing was paused and no longer is."""

    def on_silence(self, silent_ms: float) -> None:
        """Looked at every tick: nothing has come for so long."""

    def on_lost(self) -> None:
        """The connection is gone; ``reason`` says why."""

    def accepting(self) -> bool:
        """Whether the next frame may be taken now; otherwise reading stops until ``take_frames`` is called."""
        return True

    # What a subclass uses.

    def send(self, kind: int, request_id: int, payload: bytes = b"") -> None:
        """Write a frame at the end of this turn of the loop. Nothing happens on a closed connection."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(HEADER.pack(AFTER_LENGTH + len(payload), request_id, kind))
        self._outgoing.append(payload)

    def close(self, reason: str) -> None:
        """Send what is written, then close; what the peer does not take in time is dropped by the tick."""
        self.reason = reason
        self._flush()
        self._closing = True
        if self.transport is not None:
            self.transport.close()

    def abort(self, reason: str) -> None:
        """End at once."""
        self.reason = reason
        self.aborted = True
        self._closing = True
        if self.transport is not None:
            self.transport.abort()

    def take_frames(self) -> None:
        """Handle the frames that are here, as long as they are accepted, and match reading to that."""
        if self._taking:  # a refused request is answered, and so makes room, while its frame is being taken
            return
        self._taking = True
        try:
            self._take_all()
        except FrameError as error:
            self.on_malformed(error)
            self.close(str(error))
        finally:
            self._taking = False
        self._match_reading()

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has the methods and not the class
        self.transport.set_write_buffer_limits(high=self.limits.write_high_bytes)
        self.writable = True
        self._clock = self._loop.call_later(self.limits.tick_s(), self._tick)
        self.on_open()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._closing:
            return
        self._heard_at = self._loop.time()
        if not self._parser.begun:
            self._begun_at = self._heard_at
        self._parser.feed(data)
        self.take_frames()

    def pause_writing(self) -> None:
        """Called by asyncio."""
        self.writable = False
        self._stalled_at = self._loop.time()
        self._match_reading()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self.writable = True
        self.on_writable()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        if error is not None:
            self.reason = f"broken ({type(error).__name__})"
        self.writable = False
        self._closing = True
        self.transport = None  # asyncio of Python 3.11.2 fails when a lost one is aborted
        if self._clock is not None:
            self._clock.cancel()
        self._outgoing.clear()
        if not self.closed.done():
            self.closed.set_result(None)
        self.on_lost()

    def _take_all(self) -> None:
        while self.accepting() and not self._closing:
            frame = self._parser.next()
            if frame is None:
                return
            self._begun_at = self._heard_at
            self._handle(frame)

    def _handle(self, frame: Frame) -> None:
        if frame.kind == PING:
            self.send(PONG, frame.request_id)
        elif frame.kind not in (REQUEST, REPLY, PONG, GOAWAY):
            raise FrameError(f"a frame of kind {frame.kind}", frame.request_id)
        self.on_frame(frame)

    def _flush(self) -> None:
        if self._outgoing and self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _match_reading(self) -> None:
        if self.transport is None or self._closing:
            return
        hold = not self.accepting()
        if hold and not self._reading_held:
            self.transport.pause_reading()
        elif self._reading_held and not hold:
            self._heard_at = self._begun_at = self._loop.time()  # the silence was ours
            self.transport.resume_reading()
        self._reading_held = hold

    def _tick(self) -> None:
        now = self._loop.time()
        self._clock = self._loop.call_later(self.limits.tick_s(), self._tick)
        if not self.writable and (now - self._stalled_at) * 1000 > self.limits.stall_ms:
            self.abort("the peer does not read what is sent")
        elif self._parser.begun and not self._reading_held and (now - self._begun_at) * 1000 > self.limits.frame_ms:
            self.abort("a frame was begun and not finished in time")
        elif not self._reading_held:
            self.on_silence((now - self._heard_at) * 1000)
