"""Who comes to a TLS port and is not let in. TLS ends such a connection before there is a protocol that could say so.

Here they are counted, by what they did: one log record for the first, then one for all that came within a while,
however many try; no addresses, nothing of what they sent. A balancer's look at the port (it connects and goes) is none.

* ``net.not_admitted`` (trouble): a greeting that was understood, and then a certificate of another authority, an
  expired one, none, or no answer any more.
* ``net.not_tls``: what came was no greeting that we understand: another protocol, an old version of TLS, noise.
* ``net.unfinished``: silence, or a part of a greeting, until time was up or the other side went.
"""

import asyncio
from contextlib import suppress
from ssl import SSLContext, SSLError, SSLObject, SSLSocket, SSLWantReadError, SSLWantWriteError
from typing import ClassVar, Final

from warifu.adapters.net.telling import Telling

NOT_ADMITTED: Final = "net.not_admitted"
NOT_TLS: Final = "net.not_tls"
UNFINISHED: Final = "net.unfinished"
_MOST: Final = 0.8
"""Of a handshake's time: who was silent for so long has not only looked whether somebody listens."""


class Strangers:
    """Of one server. Made while its loop runs.

    Args:
        telling: told of each.
        within_s: a handshake's time.
    """

    def __init__(self, telling: Telling, within_s: float) -> None:
        self._telling = telling
        self._looked_s = within_s * _MOST
        self._loop = asyncio.get_running_loop()

    def watch(self, context: SSLContext) -> SSLContext:
        """Hear of each handshake with servers that have this context."""
        context.sslobject_class = type("Comer", (_Comer,), {"strangers": self})
        context.sni_callback = _hear
        return context

    def now_s(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    def failed(self, *, greeted: bool) -> None:
        """A handshake came to a bad end."""
        self._count(NOT_ADMITTED if greeted else NOT_TLS)

    def gone(self, lasted_s: float, *, greeted: bool, said: bool) -> None:
        """A connection ended before its handshake did. Called from wherever it is cleared away."""
        if said or lasted_s >= self._looked_s:
            with suppress(RuntimeError):  # the loop has ended too
                self._loop.call_soon_threadsafe(self._count, NOT_ADMITTED if greeted else UNFINISHED)

    def _count(self, event: str) -> None:
        self._telling.count(event, trouble=event == NOT_ADMITTED)


class _Comer(SSLObject):
    """The server's side of one handshake. The loop lets go of it when its connection ends."""

    strangers: ClassVar[Strangers]
    greeted = False
    """Its greeting (ClientHello) was understood."""
    _tries = 0
    """How often TLS was asked to go on: once when the connection is made, then whenever something has come."""
    _began_s = 0.0
    _over = False

    def do_handshake(self) -> None:
        """Called by the loop."""
        if not self._tries:
            self._began_s = self.strangers.now_s()
        self._tries += 1
        try:
            super().do_handshake()
        except (SSLWantReadError, SSLWantWriteError):
            raise
        except SSLError:
            self._over = True
            self.strangers.failed(greeted=self.greeted)
            raise
        self._over = True

    def __del__(self) -> None:
        if self._tries and not self._over:
            lasted_s = self.strangers.now_s() - self._began_s
            self.strangers.gone(lasted_s, greeted=self.greeted, said=self._tries > 1)


def _hear(comer: SSLObject | SSLSocket, _name: str | None, _context: SSLContext) -> None:
    """Called by ``ssl``: a greeting was understood."""
    if isinstance(comer, _Comer):
        comer.greeted = True
