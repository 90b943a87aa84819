"""Who greets and is not let in: a certificate of another authority, an expired one, none, or no answer any more.

TLS ends such a connection before there is a protocol that could say so. Here they are counted: one log record for the
first, then one for all that came within a while, however many try. A balancer's look at the port greets nobody.
"""

import asyncio
from ssl import SSLContext, SSLObject, SSLSocket
from typing import Final
from weakref import WeakKeyDictionary

from warifu.ports.log import Log

TOLD_EVERY_S: Final = 10.0
_MARGIN_S: Final = 0.5


class Strangers:
    """Of one server.

    Args:
        log: told ``net.not_admitted`` with how many.
        within_s: a handshake's time.
        every_s: between two records.
    """

    def __init__(self, log: Log, within_s: float, every_s: float = TOLD_EVERY_S) -> None:
        self._log = log
        self._within_s, self._every_s = within_s + _MARGIN_S, every_s
        self._greeted: WeakKeyDictionary[SSLObject | SSLSocket, int] = WeakKeyDictionary()
        self._waiting: set[int] = set()
        self._number = self._count = 0
        self._quiet: asyncio.TimerHandle | None = None

    def watch(self, context: SSLContext) -> SSLContext:
        """Hear of each TLS greeting (ClientHello) that comes to servers with this context."""
        context.sni_callback = self.hear
        return context

    def admitted(self, peer: object) -> None:
        """This one was let in."""
        if isinstance(peer, SSLObject | SSLSocket):
            self._waiting.discard(self._greeted.pop(peer, 0))

    def hear(self, peer: SSLObject | SSLSocket, _name: str | None, _context: SSLContext) -> None:
        """Called by ``ssl``: a greeting came."""
        self._number += 1
        self._greeted[peer] = self._number
        self._waiting.add(self._number)
        asyncio.get_running_loop().call_later(self._within_s, self._late, self._number)

    def _late(self, number: int) -> None:
        if number in self._waiting:
            self._waiting.discard(number)
            self._count += 1
            if self._quiet is None:
                self._tell()

    def _tell(self) -> None:
        self._quiet = None
        if self._count:
            self._log.trouble("net.not_admitted", count=self._count)
            self._count = 0
            self._quiet = asyncio.get_running_loop().call_later(self._every_s, self._tell)
