"""HAProxy before the relays: configuration made from the topology, in TCP mode (TLS passes through to the relay).

Health means "does the work" (F14). HAProxy asks an *agent*, which the supervisor serves, for each relay: the agent
says ``up`` only when the relay's own health answer -- HSM, centre, path -- was good. Beside it HAProxy tries the
relay's port by itself, so that a relay that died a moment ago gets no more connections.
"""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

from warifu.contract.health import Health, Part
from warifu.stack.addresses import HOST, Address
from warifu.stack.errors import BalancerInvalid, ProgramMissing, disk_errors
from warifu.stack.home import write_file
from warifu.stack.keeper import Probe
from warifu.stack.processes import ProcessSpec
from warifu.stack.topology import Balancer

CHECK_EVERY_MS = 500
CHECK_WITHIN_S = 10.0
MAX_CONNECTIONS = 2000
ADMIN_SOCKET = "haproxy.sock"
"""In the run folder, which is HAProxy's working folder: the name stays short, whatever WARIFU_HOME is."""
_MAX_QUESTION_BYTES = 64
_QUESTION_WITHIN_S = 2.0

Judge = Callable[[str], bool]
"""Whether the node of this name does its work now."""


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
    checks = (
        f"check inter {CHECK_EVERY_MS}ms fall 2 rise 1 on-marked-down shutdown-sessions "
        f"agent-check agent-inter {CHECK_EVERY_MS}ms agent-addr {agent.host} agent-port {agent.port}"
    )
    lines = [
        "global",
        f"    maxconn {MAX_CONNECTIONS}",
        f"    stats socket unix@{ADMIN_SOCKET} mode 600 level admin",
        "    stats timeout 10s",
        "",
        "defaults",
        "    mode tcp",
        "    timeout connect 2s",
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
        f"    default-server {checks}",
        *(f'    server {name} {address} agent-send "{name}\\n"' for name, address in servers.items()),
    ]
    return "\n".join(lines) + "\n"


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


async def serve_agent(judge: Judge) -> asyncio.Server:
    """Answer HAProxy's questions: a node's name and a newline, answered by ``up`` or ``down``."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_QUESTION_WITHIN_S):
                name = (await reader.readline())[:_MAX_QUESTION_BYTES].decode("ascii", "replace").strip()
                writer.write(b"ready up\n" if judge(name) else b"down\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
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
