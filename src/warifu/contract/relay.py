"""CS to relay: sessions and encrypted messages. The inner message is an encoded ``Envelope``; its reply a ``Reply``."""

from typing import Annotated, ClassVar

from msgspec import Meta

from warifu.contract.message import Answer, Request

SessionId = Annotated[bytes, Meta(min_length=16, max_length=16)]


class RelayKey(Answer, frozen=True, kw_only=True):
    """The public key (SubjectPublicKeyInfo DER, P-256) that sessions are agreed with."""

    public_key: bytes


class AskRelayKey(Request, frozen=True, kw_only=True):
    """Which key do the relays' HSMs hold? The channel is mutually authenticated."""

    NAME: ClassVar[str] = "relay.key"
    ANSWER: ClassVar[type[Answer]] = RelayKey
    CHANGES: ClassVar[bool] = False


class Forwarded(Answer, frozen=True, kw_only=True):
    """The encrypted reply: AES-256-GCM, nonce = direction 1 | counter, as in the request."""

    ciphertext: bytes


class Forward(Request, frozen=True, kw_only=True):
    """One business message. Self-contained: any relay, any HSM worker, can take it.

    nonce = direction byte (0 up, 1 down) | 3 zero bytes | counter (8 bytes big-endian); the counter is new for every
    *sending*, so a retried message has another nonce. Context (AAD) = session | counter | ``warifu.v1``.
    """

    NAME: ClassVar[str] = "relay.forward"
    ANSWER: ClassVar[type[Answer]] = Forwarded
    CHANGES: ClassVar[bool] = False

    session: SessionId
    encapsulation: bytes
    counter: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    ciphertext: Annotated[bytes, Meta(max_length=1 << 20)]
    admitted: bool = False
    """The CS has brought this operation's opening through before: one that comes again takes it up, and needs no new
    place. Outside the sealed message, because it is about the way and not about the matter."""


class AskedToGo(Answer, frozen=True, kw_only=True):
    """How many connections were asked to go elsewhere: those asked before and still open are among them."""

    connections: int


class LetGo(Request, frozen=True, kw_only=True):
    """Connections are to spread over the relays again: so many callers' ones may move to another relay.

    Each is made anew, by way of the balancer, before the old one is given up: nothing is lost. The asker's own stay.
    """

    NAME: ClassVar[str] = "relay.let_go"
    ANSWER: ClassVar[type[Answer]] = AskedToGo
    CHANGES: ClassVar[bool] = False

    connections: Annotated[int, Meta(ge=1, le=10_000)]
