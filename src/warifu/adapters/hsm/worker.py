"""``python -m warifu.adapters.hsm.worker --fd N --parent PID``: one device behind one socket, one command at a time.

Started by ``process``; never by hand. It ends when the socket closes, when its parent dies, or when the device fails
(a broken device is not to be talked round: the pool fences this worker and makes another).
"""

import argparse
import ctypes
import os
import signal
import socket
import sys
from typing import Any, Final

from warifu.adapters.hsm import frames
from warifu.adapters.hsm.config import HsmConfig, SoftwareConfig
from warifu.adapters.hsm.errors import DeviceFailed
from warifu.ports.hsm import HsmCommand, HsmReply

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PIECE_BYTES: Final = 1 << 16
EXIT_CLOSED: Final = 0
EXIT_NOT_STARTED: Final = 69
EXIT_DEVICE_FAILED: Final = 70


def main(arguments: list[str]) -> int:
    """Serve until the socket closes. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="warifu.adapters.hsm.worker", description="One HSM worker (internal).")
    parser.add_argument("--fd", type=int, required=True, help="socket shared with the parent")
    parser.add_argument("--parent", type=int, required=True, help="the parent's process id")
    options = parser.parse_args(arguments)
    _end_with_parent(options.parent)
    with socket.socket(fileno=options.fd) as link:
        return _serve(link)


def _end_with_parent(parent: int) -> None:
    """Die with the parent, even inside a device call that never returns. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_DUMPABLE, 0)  # no core file, no ptrace: keys are in this memory
    if os.getppid() != parent:
        sys.exit(EXIT_CLOSED)


def _serve(link: socket.socket) -> int:
    frames_in = _Frames(link)
    number, body = frames_in.next()
    hello = frames.decode_hello(body)
    try:
        engine = open_engine(hello.config)
        link.sendall(frames.frame(number, frames.encode(frames.Ready())))
    except DeviceFailed as error:
        link.sendall(frames.frame(number, frames.encode(frames.Failed(str(error)))))
        return EXIT_NOT_STARTED
    try:
        while True:
            number, body = frames_in.next()
            link.sendall(frames.frame(number, frames.encode(_done(engine, frames.decode_command(body)))))
    except (EOFError, ConnectionError):
        return EXIT_CLOSED
    except DeviceFailed as error:
        print(f"{hello.name}: {error.code}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - its only voice
        return EXIT_DEVICE_FAILED


def _done(engine: Any, command: HsmCommand | frames.Messages) -> HsmReply | frames.Replies:  # noqa: ANN401 - as below
    if isinstance(command, frames.Messages):
        return frames.Replies(tuple([engine.perform(each) for each in command.commands]))
    reply: HsmReply = engine.perform(command)
    return reply


def open_engine(config: HsmConfig) -> Any:  # noqa: ANN401 - Engine of whichever device, imported when it is known
    """The device of ``config``, logged in, with the commands around it.

    Raises:
        DeviceFailed: it is not there.
    """
    from warifu.adapters.hsm.engine import Engine  # noqa: PLC0415 - the parent imports this module's constants only

    if isinstance(config, SoftwareConfig):
        from warifu.adapters.hsm.software import SoftwareDevice  # noqa: PLC0415 - only the device that is used

        return Engine(SoftwareDevice(config))
    from warifu.adapters.hsm.pkcs11 import Pkcs11Device  # noqa: PLC0415 - likewise

    return Engine(Pkcs11Device(config))


class _Frames:
    """What comes over the socket, frame by frame; most come whole, with one system call."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._data = b""

    def next(self) -> tuple[int, bytes]:
        """Number and body of the next frame. ``EOFError`` when the socket is closed."""
        while len(self._data) < frames.HEAD_BYTES:
            self._more()
        length, number = frames.head(self._data)
        end = frames.HEAD_BYTES + length
        if len(self._data) < end:
            self._rest(end)
        body, self._data = self._data[frames.HEAD_BYTES : end], self._data[end:]
        return number, body

    def _more(self) -> None:
        data = self._link.recv(_PIECE_BYTES)
        if not data:
            raise EOFError
        self._data += data

    def _rest(self, end: int) -> None:
        """A long frame into one buffer of its size."""
        whole = bytearray(end)
        have = len(self._data)
        whole[:have] = self._data
        view = memoryview(whole)
        while have < end:
            received = self._link.recv_into(view[have:])
            if not received:
                raise EOFError
            have += received
        self._data = bytes(whole)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
