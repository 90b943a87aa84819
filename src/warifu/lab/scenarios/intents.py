"""A centre's intents, watched: a request that comes again goes on with the card write it recorded the first time.

No history shows it: what a request has recorded, and whether it stumbles over that, is between a centre and its store.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Final

from warifu.contract.center import PrepareWrite, Script
from warifu.domain.cards.errors import WriteNotSettled
from warifu.domain.cards.records import CardWrite
from warifu.nodes.base import Call
from warifu.nodes.center import Center
from warifu.ports.store import Change, Insert

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

OWN: Final = "a request that comes again finds its own intent"
_ASKING: ContextVar[tuple[str, str]] = ContextVar("asking")
"""Operation and step of the request that a centre is answering."""


class Intents:
    """What each request at the centres has recorded as about to be written."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._made: dict[tuple[str, str], str] = {}

    def watch(self, node: Center) -> None:
        """From now on this centre is watched too."""
        node.handlers[PrepareWrite.NAME] = partial(self._written, node.write)
        node.store.commit = partial(self._committed, node.store.commit)  # type: ignore[method-assign]

    async def _written(self, write: Callable[[Call], Awaitable[Script]], call: Call) -> Script:
        request = call.operation_id, call.envelope.step
        _ASKING.set(request)
        try:
            script = await write(call)
        except WriteNotSettled as error:
            if str(error) == self._made.get(request):
                self._bad(request, f"was refused for the sake of {error}, its own")
            raise
        if self._made.setdefault(request, script.write_id) != script.write_id:
            self._bad(request, f"recorded {self._made[request]} and got the script of {script.write_id}")
        return script

    async def _committed(self, commit: Callable[[Change], Awaitable[None]], change: Change) -> None:
        request = _ASKING.get(("", ""))
        for write in change.writes:
            if isinstance(write, Insert) and isinstance(write.record, CardWrite) and request != ("", ""):
                made = self._made.setdefault(request, write.record.write_id)
                if made != write.record.write_id:
                    self._bad(request, f"records {write.record.write_id} beside {made}")
        await commit(change)

    def _bad(self, request: tuple[str, str], text: str) -> None:
        self._world.violated(OWN, f"{'/'.join(request)} {text}")
