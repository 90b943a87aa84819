"""How a node's message reaches another node."""

from typing import Protocol

from warifu.contract.envelope import Envelope, Reply


class Transport(Protocol):
    """Sends requests to nodes by name."""

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        """Send and wait for the reply, at most ``envelope.remaining_ms``.

        Args:
            destination: a node's name in the topology (``center``, ``authority``, ``relay`` ...); several processes
                may stand behind one name.
            envelope: the request with its identity.

        Raises:
            Unreachable: no connection could be made; the request was never sent.
            Unavailable: the connection broke; whether the request had its effect is unknown.
            DeadlinePassed: no reply in time; likewise unknown.
        """
