"""Frames: whatever pieces a stream comes in."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.adapters.net.frames import HEADER, REQUEST, Frame, FrameConnection, FrameError, FrameParser, encode_frame
from warifu.adapters.net.limits import Limits

FRAMES = st.lists(st.builds(Frame, st.integers(0, 2**64 - 1), st.integers(1, 5), st.binary(max_size=300)), max_size=8)


def parse(parser: FrameParser, *pieces: bytes) -> list[Frame]:
    found = []
    for piece in pieces:
        parser.feed(piece)
        while (frame := parser.next()) is not None:
            found.append(frame)
    return found


@given(FRAMES, st.data())
def test_any_cutting_of_the_stream_gives_the_same_frames(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(map(encode_frame, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    parser = FrameParser(300)
    assert parse(parser, *pieces) == frames
    assert not parser.begun


def test_frames_may_be_taken_later_than_they_came() -> None:
    parser = FrameParser(10)
    for number in range(3):
        parser.feed(encode_frame(Frame(number, REQUEST, b"abc")))
    assert [frame.request_id for frame in parse(parser, b"")] == [0, 1, 2]


def test_a_truncated_frame_is_begun_and_not_there() -> None:
    parser = FrameParser(10)
    assert parse(parser, encode_frame(Frame(1, REQUEST, b"abc"))[:-1]) == []
    assert parser.begun


@pytest.mark.parametrize("length", [0, 8, 9 + 11, 2**32 - 1])
def test_a_length_out_of_bounds_is_an_error_before_its_payload_comes(length: int) -> None:
    with pytest.raises(FrameError) as caught:
        parse(FrameParser(10), HEADER.pack(length, 7, REQUEST))
    assert caught.value.request_id == 7
    assert caught.value.code == "request.malformed"


class Wire(asyncio.Transport):
    """Notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def abort(self) -> None:
        self.asked.append("abort")

    def close(self) -> None:
        self.asked.append("close")


async def test_of_a_lost_connection_nothing_more_is_asked() -> None:
    """Aborting one is an error in asyncio before Python 3.11.3."""
    wire, connection = Wire(), FrameConnection(Limits())
    connection.connection_made(wire)
    connection.connection_lost(None)
    connection.abort("too late")
    connection.close("too late")
    assert wire.asked == []
    assert connection.closed.done()
