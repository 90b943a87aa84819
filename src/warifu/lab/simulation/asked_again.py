"""A node that was told to come back does not come back by itself: not under another key, not with a part of the whole.

Retries are the CS's alone, from its budget. A node that asks again within the same request multiplies what one request
may cost those who have too much to do already, by two at each hop, or by as many parts as it cuts the whole into.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from warifu.contract.authority import AskStatuses, IssueBatch, IssueCertificates
from warifu.contract.codec import decode_request
from warifu.contract.envelope import Envelope
from warifu.lab.simulation.asked_once import FAILED

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

NAME: Final = "only the CS retries"
WHOLES: Final[dict[str, Callable[[Any], Iterable[tuple[object, ...]]]]] = {
    IssueBatch.NAME: lambda asked: [(IssueCertificates.NAME, order.card_id) for order in asked.orders],
    IssueCertificates.NAME: lambda asked: [(IssueCertificates.NAME, asked.card_id)],
    AskStatuses.NAME: lambda asked: [(AskStatuses.NAME, asked.ca, serial) for serial in asked.serials],
}
"""What is asked for by messages that ask for many things at once, and by those that ask for one of them."""


def wanted(destination: str, envelope: Envelope) -> list[object]:
    """What a message asks for, whatever its key; one whose body is its own is one thing."""
    many = WHOLES.get(envelope.name)
    if many is None:
        return [(destination, envelope.name, envelope.body)]
    return [(destination, *thing) for thing in many(decode_request(envelope.name, envelope.body))]


def asks(world: "World", sender: str, destination: str, envelope: Envelope) -> None:
    """A node asks another: not for what it was told to come back for, on behalf of the same request."""
    failed = FAILED.get()
    if not failed or sender.startswith("cs-"):
        return
    again = next((thing for thing in wanted(destination, envelope) if thing in failed), None)
    if again is not None:
        world.violated(NAME, f"{sender} asks for {envelope.name} {envelope.step}, and was told to come back for it")


def told_to_come_back(destination: str, envelope: Envelope) -> None:
    """Its message was not answered, or with an error that asks to try again."""
    failed = FAILED.get()
    if failed is not None:
        failed += wanted(destination, envelope)
