"""Every bound of the node protocol, in one value."""

from dataclasses import dataclass

from warifu.contract.envelope import MAX_BODY_BYTES

ENVELOPE_BYTES = 4096
"""More than an envelope's own fields can take beside the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one server or client. Both ends of a connection should have the same ``max_in_flight``."""

    max_payload_bytes: int = MAX_BODY_BYTES + ENVELOPE_BYTES
    """Of one frame."""
    max_in_flight: int = 256
    """Requests of one connection that are not answered. A client waits; a server stops reading."""
    max_connections: int = 1024
    """That one server holds; the next is closed at once."""
    max_handlers: int = 4096
    """Handlers of one server at work, those whose client went away included; the next is refused, unhandled."""
    connect_ms: int = 5_000
    """For TCP, TLS and the greeting together."""
    frame_ms: int = 10_000
    """From a frame's first byte to its last."""
    stall_ms: int = 10_000
    """How long a peer may leave our bytes unread."""
    ping_ms: int = 5_000
    """Silence after which a client asks; the same again without an answer means that the connection is lost."""
    idle_ms: int = 60_000
    """Silence after which a server closes a connection without work."""
    write_high_bytes: int = 1 << 20
    """Unsent bytes from which nothing more is written until they have drained."""
    backoff_first_ms: int = 50
    """After the first failed attempt to connect to an address; doubles, jittered between half and whole."""
    backoff_most_ms: int = 2_000

    def tick_s(self) -> float:
        """How often a connection looks at its own clocks."""
        return min(self.frame_ms, self.stall_ms, self.ping_ms, self.idle_ms) / 4000
