"""HAProxy before the relays: configuration made from the topology, in TCP mode (TLS passes through to the relay).

Health means "does the work" (F14). HAProxy asks an *agent*, which the supervisor serves, for each relay: the agent
says ``up`` only when the relay's own health answer -- HSM, centre, path -- was good. Beside it HAProxy tries the
relay's port by itself, so that a relay that died a moment ago gets no more connections.
"""

import asyncio
import contextlib
import csv
import shutil
from collections.abc import Callable
from pathlib import Path

from warifu.contract.health import Health, Part
from warifu.kernel.errors import Unavailable
from warifu.stack.addresses import HOST, Address
from warifu.stack.errors import BalancerInvalid, ProgramMissing, disk_errors
from warifu.stack.home import short_path, write_file
from warifu.stack.keeper import Probe
from warifu.stack.processes import ProcessSpec
from warifu.stack.spreading import Standing
from warifu.stack.topology import Balancer

CHECK_EVERY_MS = 500
CHECK_WITHIN_S = 10.0
MAX_CONNECTIONS = 4000
MAX_CONNECTIONS_EACH = 1000
"""To one node, a little less than it holds itself; those beyond wait a moment here, first come, first served."""
ADMIN_SOCKET = "haproxy.sock"
"""In the run folder, which is HAProxy's working folder: the name stays short, whatever WARIFU_HOME is."""
_MAX_QUESTION_BYTES = 64
_END = "."
"""After the name in a question; a new line could not be said through the admin socket."""
_QUESTION_WITHIN_S = 2.0

_BACKEND = "nodes"
_DELETED = "Server deleted."
_SUMS = frozenset({"FRONTEND", "BACKEND"})
_ANSWER_WITHIN_S = 5.0
_AGAIN_S = 0.1
_UP_WITHIN_S = 10.0

Judge = Callable[[str], bool]
"""Whether the node of this name does its work now, or whether it is being drained."""


def find_program(balancer: Balancer) -> str | None:
    """HAProxy's path; None when the topology or the machine goes without. ``ProgramMissing`` when it is demanded."""
    if balancer.kind == "none":
        return None
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    if found is None and balancer.kind == "haproxy":
        raise ProgramMissing("haproxy is not on this machine: install it, or set balancer.kind to 'auto'")
    return found


def configuration(listen: Address, servers: dict[str, Address], agent: Address) -> str:
    """HAProxy's configuration.

    Args:
        listen: where the balanced service is reached.
        servers: the nodes behind it, by name.
        agent: where the agent says who does its work.
    """
    lines = [
        "global",
        f"    maxconn {MAX_CONNECTIONS}",
        f"    stats socket unix@{ADMIN_SOCKET} mode 600 level admin",
        "    stats timeout 10s",
        "",
        "defaults",
        "    mode tcp",
        "    timeout connect 2s",
        "    timeout queue 5s",
        "    timeout client 10m",
        "    timeout server 10m",
        "    retries 3",
        "    option redispatch 1",
        "",
        "frontend service",
        f"    bind {listen}",
        "    default_backend nodes",
        "",
        "backend nodes",
        "    balance leastconn",
        "    option tcp-check",
        *(f"    {_server(name, address, agent)}" for name, address in servers.items()),
    ]
    return "\n".join(lines) + "\n"


def _server(name: str, address: Address, agent: Address) -> str:
    """A server's line: the same in the file and through the admin socket."""
    return (
        f"server {name} {address} maxconn {MAX_CONNECTIONS_EACH} "
        f"check inter {CHECK_EVERY_MS}ms fall 2 rise 1 on-marked-down shutdown-sessions "
        f"agent-check agent-inter {CHECK_EVERY_MS}ms agent-addr {agent.host} agent-port {agent.port} "
        f"agent-send {name}{_END}"
    )


class Runtime:
    """HAProxy's admin socket: servers come and go while connections are open.

    Args:
        run: HAProxy's working folder.
        agent: where the agent says who does its work.
    """

    def __init__(self, run: Path, agent: Address) -> None:
        self._run = run
        self._agent = agent

    async def add(self, name: str, address: Address) -> None:
        """One more server; it gets connections once it is found to do its work."""
        line = _server(name, address, self._agent).removeprefix(f"server {name} ")
        await self._tell(f"add server {_BACKEND}/{name} {line}", "New server registered.")
        for what in ("health", "agent", "server"):
            await self._tell(f"enable {what} {_BACKEND}/{name}")
        await self._until_up(name)

    async def drain(self, name: str) -> None:
        """No new connections; those that are open stay."""
        await self._tell(f"set server {_BACKEND}/{name} state drain")

    async def ready(self, name: str) -> None:
        """In rotation again, when it does its work."""
        await self._tell(f"set server {_BACKEND}/{name} state ready")
        await self._until_up(name)

    async def remove(self, name: str) -> None:
        """Forget a server without connections. ``Unavailable``: HAProxy keeps it all the same."""
        for what in ("agent", "health"):
            await self._tell(f"disable {what} {_BACKEND}/{name}")
        answer = ""
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                # Its agent's last answer may bring it out of maintenance; sessions end a moment after they were told.
                while answer != _DELETED:
                    await self._tell(f"set server {_BACKEND}/{name} state maint")
                    await self._tell(f"shutdown sessions server {_BACKEND}/{name}")
                    answer = (await self._ask(f"del server {_BACKEND}/{name}")).strip()
                    await asyncio.sleep(0 if answer == _DELETED else _AGAIN_S)
        except TimeoutError:
            raise Unavailable(f"HAProxy does not let go of {name}: {answer[:200]}") from None

    async def connections(self, name: str) -> int:
        """Open now."""
        standing = (await self.table()).get(name)
        return standing.connections if standing else 0

    async def table(self) -> dict[str, Standing]:
        """Every server as HAProxy has it."""
        rows = csv.DictReader((await self._ask("show stat")).removeprefix("# ").splitlines())
        return {
            row["svname"]: Standing(row["status"], int(row["scur"] or 0), int(row["lastchg"] or 0))
            for row in rows
            if row["pxname"] == _BACKEND and row["svname"] not in _SUMS
        }

    async def _until_up(self, name: str) -> None:
        """Until HAProxy itself has found it to do its work: only then may another leave. Not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_UP_WITHIN_S):
                while not ((standing := (await self.table()).get(name)) and standing.up):  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(_AGAIN_S)

    async def _tell(self, command: str, expected: str = "") -> None:
        answer = (await self._ask(command)).strip()
        if answer != expected:
            raise BalancerInvalid(f"HAProxy does not take {command.partition(' 127')[0]!r}: {answer[:200]}")

    async def _ask(self, command: str) -> str:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                with short_path(self._run) as folder:
                    reader, writer = await asyncio.open_unix_connection(f"{folder}/{ADMIN_SOCKET}")
                try:
                    writer.write(command.encode() + b"\n")
                    return (await reader.read()).decode(errors="replace")
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"HAProxy does not answer: {type(error).__name__}") from error


async def write_configuration(program: str, run: Path, text: str) -> Path:
    """Write the configuration once HAProxy itself has found it valid. ``BalancerInvalid`` with its words otherwise."""
    draft = run / "haproxy.new.cfg"
    with disk_errors(run):
        write_file(draft, text.encode())
    process = await asyncio.create_subprocess_exec(
        program, "-c", "-f", draft.name, cwd=run, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(CHECK_WITHIN_S):
        output, _ = await process.communicate()
    if process.returncode != 0:
        alerts = [line for line in output.decode(errors="replace").splitlines() if "ALERT" in line]
        raise BalancerInvalid(f"{draft}: {alerts[0].strip() if alerts else 'not accepted'}")
    return draft.replace(run / "haproxy.cfg")


def spec(program: str, run: Path) -> ProcessSpec:
    """How HAProxy is run: in the foreground, one process."""
    return ProcessSpec(name="haproxy", argv=(program, "-db", "-f", "haproxy.cfg"), cwd=run)


async def serve_agent(judge: Judge, draining: Judge = lambda _: False) -> asyncio.Server:
    """Answer HAProxy's questions: a node's name and a full stop, answered by ``up``, ``drain`` or ``down``.

    Args:
        judge: whether a node does its work.
        draining: whether it is to get no new connections, although it does.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_QUESTION_WITHIN_S):
                name = (await reader.readuntil(_END.encode())).decode("ascii", "replace").removesuffix(_END)
                word = "drain" if draining(name) else "ready up" if judge(name) else "down"
                writer.write(word.encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # HAProxy asks again
        finally:
            writer.close()

    return await asyncio.start_server(answer, HOST, 0, limit=_MAX_QUESTION_BYTES)


def probe(listen: Address) -> Probe:
    """Health of HAProxy itself: it takes a connection."""

    async def ask() -> Health:
        _, writer = await asyncio.open_connection(listen.host, listen.port)
        writer.close()
        return Health(ok=True, parts={"listening": Part(ok=True)})

    return ask
