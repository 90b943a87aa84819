"""Who asks and who answers in the OCSP benches: wrk and nginx where they are, small programs of our own where not.

A row says which it was: figures with our own client are lower on both sides, a bare server of our own is another
limit than nginx.
"""

import asyncio
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from warifu.kernel.errors import Fault
from warifu.lab.rigs import bare_http
from warifu.lab.rigs.bare_http import HOST, Question
from warifu.lab.rigs.pki_rig import CORES

MEDIA_TYPE: Final = "application/ocsp-response"
_CONNECTIONS: Final = 64
_START_S: Final = 60.0
_SERIAL_BYTES: Final = 4
_NONCE_BYTES: Final = 16
_LUA: Final = """
local head, tail = {head}, {tail}
math.randomseed(os.time())
local function octets(count)
  local t = {{}}
  for i = 1, count do t[i] = string.char(math.random(0, 255)) end
  return table.concat(t)
end
request = function()
  local serial = {first} + math.random(0, {count} - 1)
  local text = string.char(
    math.floor(serial / 16777216) % 256, math.floor(serial / 65536) % 256, math.floor(serial / 256) % 256, serial % 256)
  return wrk.format("POST", "{path}", {{["content-type"] = "{media_type}"}},
    head .. text .. {middle} .. octets(16) .. tail)
end
"""


class Asker(Protocol):
    """Asks one question over as many connections as a busy responder has."""

    @property
    def name(self) -> str:
        """What it is, for the row."""

    async def rate(self, ports: Sequence[int], seconds: float) -> float:
        """Answers a second, every one a 200, from all ports together."""

    def lasts(self, seconds: float) -> float:
        """How many seconds it asks when asked for so many."""


class _Wrk:
    name: Final = "wrk"

    def __init__(self, program: str, folder: Path, question: Question) -> None:
        self._program, self._path, self._script = program, question.path, _script(folder, question)

    def lasts(self, seconds: float) -> float:
        return max(round(seconds), 1)

    async def rate(self, ports: Sequence[int], seconds: float) -> float:
        command = ["-t", "1", "-c", str(_CONNECTIONS // len(ports)), "-d", f"{self.lasts(seconds):.0f}s"]
        command += ["-s", str(self._script)] if self._script else []
        processes = [
            await asyncio.create_subprocess_exec(
                *(self._program, *command, f"http://{HOST}:{port}{self._path}"), stdout=asyncio.subprocess.PIPE
            )
            for port in ports
        ]
        return sum([_told((await process.communicate())[0].decode()) for process in processes])


class _Own:
    name: Final = "our own client: wrk is missing"

    def __init__(self, question: Question) -> None:
        self._question = question

    def lasts(self, seconds: float) -> float:
        return seconds

    async def rate(self, ports: Sequence[int], seconds: float) -> float:
        return await bare_http.asked(ports, self._question, connections=_CONNECTIONS, seconds=seconds)


def asker(folder: Path, question: Question) -> Asker:
    """The best that this machine has. ``folder``: for wrk's script."""
    program = shutil.which("wrk")
    return _Own(question) if program is None else _Wrk(program, folder, question)


def _told(text: str) -> float:
    found = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    if found is None or "Non-2xx" in text or "Socket errors" in text:
        raise Fault("wrk had errors: " + " ".join(text.split())[-200:])
    return float(found[1])


def _script(folder: Path, question: Question) -> Path | None:
    """Requests with a number and a nonce of their own; nothing for a GET."""
    if not question.body:
        return None
    place, nonce, body = question.serial_at, question.nonce_at, question.body
    parts = {"head": body[:place], "middle": body[place + _SERIAL_BYTES : nonce], "tail": body[nonce + _NONCE_BYTES :]}
    texts = {name: '"' + "".join(f"\\{octet:03d}" for octet in part) + '"' for name, part in parts.items()}
    path = folder / "question.lua"
    of = {"path": question.path, "media_type": question.media_type, "first": question.first, "count": question.count}
    path.write_text(_LUA.format(**texts, **of))
    return path


class Beside(Struct, frozen=True):
    """A server of the same bytes."""

    name: str
    """What it is, for the row."""
    ports: tuple[int, ...]
    """Of its processes; nginx's share one, asked twice."""


@asynccontextmanager
async def beside(folder: Path, body: bytes) -> AsyncIterator[Beside]:
    """Nginx serving these bytes from a file at every path; where it is missing, bare servers of our own."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    async with AsyncExitStack() as stack:
        if program is None:
            ports = [await stack.enter_async_context(bare_http.serving(body, MEDIA_TYPE)) for _ in range(CORES)]
            yield Beside("a bare server of our own (nginx is missing) giving the same bytes", tuple(ports))
        else:
            port = await stack.enter_async_context(_nginx(program, folder, body))
            yield Beside("nginx serving the same bytes from a file", (port,) * CORES)


@asynccontextmanager
async def _nginx(program: str, folder: Path, body: bytes) -> AsyncIterator[int]:
    """The port at which it listens."""
    port = _free_port()
    config = await asyncio.to_thread(_configured, folder, body, port)
    process = await asyncio.create_subprocess_exec(
        *(program, "-p", str(folder), "-c", str(config)), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _listens(port)
        yield port
    finally:
        process.terminate()
        await process.wait()


def _configured(folder: Path, body: bytes, port: int) -> Path:
    """The file and a configuration that serves it at every path."""
    folder.parent.chmod(0o755)
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "answer.der").write_bytes(body)
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    lines = (
        "user root;" if os.geteuid() == 0 else "",
        f"worker_processes {CORES}; pid {folder}/pid; error_log stderr crit; daemon off;",
        "events { worker_connections 1024; }",
        "http { access_log off; sendfile on; open_file_cache max=10; keepalive_requests 100000000;",
        *(f"{name}_temp_path {folder}/{name};" for name in names),
        f"default_type {MEDIA_TYPE};",
        f"server {{ listen 127.0.0.1:{port}; location / {{ root {folder}; try_files /answer.der =404; }} }} }}",
    )
    config = folder / "nginx.conf"
    config.write_text("\n".join(lines))
    return config


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _listens(port: int) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
