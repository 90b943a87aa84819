"""pcscd with a private configuration, and on Linux in namespaces of its own.

vpcd listens on every interface without a password, and pcscd's socket path is compiled in: so it runs in a network
namespace where nobody else is and in a mount namespace with a run folder of its own. Programs that shall meet it are
started through ``Pcscd.command``. Without namespaces (``enclosed=False``) it is the machine's pcscd, for development.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from warifu.adapters.reader.vpcd import DEFAULT_PORT
from warifu.kernel.errors import Unavailable

DRIVER: Final = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
RUN_FOLDER: Final = Path("/run/pcscd")
_SOCKET: Final = "pcscd.comm"
_START_S: Final = 15.0
_STOP_S: Final = 5.0
_POLL_S: Final = 0.02
_PR_SET_PDEATHSIG: Final = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def reader_conf(port: int, driver: Path = DRIVER) -> str:
    """A reader.conf for one virtual reader whose first slot is TCP port ``port`` (the second: the next)."""
    return f'FRIENDLYNAME "Virtual PCD"\nDEVICENAME /dev/null:0x{port:04X}\nLIBPATH {driver}\nCHANNELID 0x{port:04X}\n'


def is_running(run_folder: Path = RUN_FOLDER) -> bool:
    """Whether a pcscd answers on its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(run_folder / _SOCKET))
        except OSError:
            return False
    return True


class Pcscd:
    """A pcscd that lives as long as this context.

    Args:
        folder: an empty or missing folder for its configuration and log.
        port: the TCP port of the virtual reader's first slot.
        enclosed: in namespaces of its own (needs root or unprivileged user namespaces).

    Raises (on entering):
        Unavailable: pcscd or vpcd is not installed, or it does not start; the text says which.
    """

    def __init__(self, folder: Path, port: int = DEFAULT_PORT, *, enclosed: bool = True) -> None:
        self._folder = folder
        self._port = port
        self._enclosed = enclosed
        self._process: asyncio.subprocess.Process | None = None

    @property
    def port(self) -> int:
        """The slot's TCP port, to be used by a card that runs through ``command``."""
        return self._port

    async def __aenter__(self) -> Self:
        self._prepare()
        with (self._folder / "pcscd.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._start_command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            async with asyncio.timeout(_START_S):
                await self._ready(self._process)
        except BaseException as error:
            await self._stop()
            if isinstance(error, TimeoutError):
                raise Unavailable("pcscd does not start") from error
            raise
        return self

    def _prepare(self) -> None:
        if shutil.which("pcscd", path=_path()) is None:
            raise Unavailable("pcscd is not installed (Debian: pcscd)")
        if not DRIVER.exists():
            raise Unavailable("vpcd is not installed (Debian: vsmartcard-vpcd)")
        configuration = self._folder / "reader.conf.d"
        configuration.mkdir(parents=True, exist_ok=True)
        (configuration / "vpcd").write_text(reader_conf(self._port), encoding="ascii")

    def _start_command(self) -> list[str]:
        inside = [sys.executable, "-m", __name__, str(self._folder / "reader.conf.d"), str(int(self._enclosed))]
        if not self._enclosed:
            return inside
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        return ["unshare", *user, "--mount", "--net", *inside]

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        """Wait for the socket as the process itself sees it."""
        root = Path(f"/proc/{process.pid}/root") if self._enclosed else Path("/")
        path = root / RUN_FOLDER.relative_to("/") / "pcscd.pid"
        while not path.exists():
            if process.returncode is not None:
                raise Unavailable(f"pcscd ended at once: see {self._folder / 'pcscd.log'}")
            await asyncio.sleep(_POLL_S)

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a program where it meets this pcscd (its working folder is then ``/``)."""
        if not self._enclosed or self._process is None:
            return list(arguments)
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self._process.pid), *user, "--mount", "--net", *arguments]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _path() -> str:
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def _raise_loopback() -> None:
    """Bring ``lo`` up in a fresh network namespace (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _private_run_folder() -> None:
    """A run folder of our own: over pcscd's when the machine has one, else over all of /run."""
    place = RUN_FOLDER if RUN_FOLDER.is_dir() else RUN_FOLDER.parent
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)  # noqa: S603, S607 - constant arguments
    RUN_FOLDER.mkdir(exist_ok=True)


def become_pcscd(configuration: str, *, enclosed: bool) -> None:
    """Turn this process into pcscd, which ends when its parent does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if enclosed:
        _private_run_folder()
        _raise_loopback()
    else:
        RUN_FOLDER.mkdir(exist_ok=True)
    program = shutil.which("pcscd", path=_path()) or "pcscd"
    os.execv(program, [program, "--foreground", "-c", configuration])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    become_pcscd(sys.argv[1], enclosed=sys.argv[2] == "1")
