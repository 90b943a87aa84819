"""The program that every node runs in: ``python -m warifu.stack.node NAME --home DIR``.

SIGTERM ends it gracefully: no new connections, what is in hand is finished, then the timers end. Exit status 0 after
that; 78 when starting it again would not help; 1 otherwise, with one line on stderr. SIGUSR1 asks every caller to
connect anew, so that a balancer can spread them.
"""

import argparse
import asyncio
import faulthandler
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import uvloop

from warifu.adapters.net import checking
from warifu.adapters.net.checking import verifier_edge
from warifu.adapters.net.handling import Peer
from warifu.adapters.net.http import HttpServer, serve_http
from warifu.adapters.net.relying import relying_edge
from warifu.adapters.net.server import serve
from warifu.adapters.net.tls import edge_context
from warifu.adapters.net.web import WebServer, serve_web
from warifu.adapters.portal.app import make_app as portal_app
from warifu.adapters.screens.app import make_app as counter_app
from warifu.adapters.screens.terminal import CounterTerminal
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import WarifuError
from warifu.nodes.base import Node
from warifu.nodes.front import Front
from warifu.nodes.portal import Portal
from warifu.nodes.relay import Relay
from warifu.nodes.responder import Responder
from warifu.stack import compose, config
from warifu.stack.addresses import Address
from warifu.stack.errors import ConfigInvalid, HomeUnusable, PortTaken, error_line, first_error
from warifu.stack.home import Home
from warifu.stack.keeper import PERMANENT_STATUS
from warifu.stack.links import tls_of
from warifu.stack.logs import JsonLog
from warifu.stack.processes import settle_memory

GRACE_S = 3.0
"""For what is in hand when the end is asked for; the supervisor's own patience is longer."""
_PERMANENT = (ConfigInvalid, HomeUnusable)


async def run(home: Home, name: str) -> None:
    """Serve one node until SIGTERM or SIGINT."""
    own = config.read(home, name)
    log = JsonLog(name)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    async with AsyncExitStack() as resources:
        node = await compose.build(home, own, log, resources)
        await _serve(home, own, node, log, ending)


async def _serve(home: Home, own: config.NodeConfig, node: Node, log: JsonLog, ending: asyncio.Event) -> None:
    async def handle(envelope: Envelope, _peer: Peer) -> Reply:
        # The server holds the sender against the peer's certificate; the node holds the message against the sender.
        return await node.handle(envelope)

    listen = own.listen
    async with asyncio.TaskGroup() as group:
        timers = group.create_task(node.run(), name="timers")
        with _taken(own.name, listen):
            server = await serve(handle, listen.host, listen.port, tls_of(home, own.name), log=log)
        edge = await _serve_edge(home, own, node, log)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, server.let_go)
        if isinstance(node, Relay):
            node.callers = server
        log.info("node.serving", port=listen.port)
        settle_memory()
        try:
            await ending.wait()
        finally:
            if edge is not None:
                await edge.stop(GRACE_S)
            await server.stop(GRACE_S)
            timers.cancel()
    log.info("node.ended")


async def _serve_edge(home: Home, own: config.NodeConfig, node: Node, log: JsonLog) -> HttpServer | WebServer | None:
    """The node's HTTP face, if it has one."""
    if own.http is None:
        return None
    with _taken(own.name, own.http):
        if isinstance(node, Responder):
            return await serve_http(relying_edge(node), own.http.host, own.http.port, log=log)
        if isinstance(node, Front):
            tls = edge_context(tls_of(home, own.name))
            edge = verifier_edge(node)
            return await serve_http(edge, own.http.host, own.http.port, log=log, tls=tls, limits=checking.LIMITS)
        if isinstance(node, Portal):
            return await serve_web(portal_app(node), own.http.host, own.http.port, log=log)
        if isinstance(node, CounterTerminal):
            return await serve_web(counter_app(node.counter), own.http.host, own.http.port, log=log)
    return None


@contextmanager
def _taken(name: str, address: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PortTaken(f"{name}: cannot listen on {address}: {error.strerror or error}") from error


def main(arguments: list[str] | None = None) -> int:
    """The program; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m warifu.stack.node")
    parser.add_argument("name")
    parser.add_argument("--home", required=True, type=Path)
    chosen = parser.parse_args(arguments)
    faulthandler.enable()
    try:
        uvloop.run(run(Home(chosen.home), chosen.name))
    except (WarifuError, OSError, BaseExceptionGroup) as error:
        cause = first_error(error)
        if not isinstance(cause, WarifuError | OSError):
            raise
        sys.stderr.write(error_line(cause) + "\n")
        return PERMANENT_STATUS if isinstance(cause, _PERMANENT) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
