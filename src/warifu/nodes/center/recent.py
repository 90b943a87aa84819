"""What a centre wrote last of each open operation, so that the next step of it needs no reading.

A guess and nothing more: another centre, the completer or an event of the resident's may have changed the records
since. So whatever is decided from it is committed with the version of every record in it as guard, and the same
request's key; a guess that is wrong costs one statement, and the step is done as if there had been none.
"""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from warifu.domain.cards.operations import State
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.ports.store import Write

MOST = 1_000
"""Operations remembered, about 1 kB each; the one longest untouched leaves."""


class Recent:
    """States by operation. Whoever takes one puts it back, or what became of it: nobody else decides from it then."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, State] = OrderedDict()

    def take(self, operation_id: str) -> State | None:
        """The state this process left the operation in, if it is known."""
        return self._states.pop(operation_id, None)

    def keep(self, operation_id: str, state: State) -> None:
        """What was just committed. An operation that ended needs no remembering."""
        if state.card is None or state.operation is None or state.operation.state != "open":
            return
        self._states[operation_id] = state
        self._states.move_to_end(operation_id)
        while len(self._states) > MOST:
            self._states.popitem(last=False)


def written(state: State, writes: Sequence[Write]) -> State:
    """The state after these writes were committed: each record one version on, a settled card write gone."""
    for write in writes:
        record = msgspec.structs.replace(write.record, version=write.record.version + 1)
        if isinstance(record, Card):
            state = msgspec.structs.replace(state, card=record)
        elif isinstance(record, Operation):
            state = msgspec.structs.replace(state, operation=record)
        elif isinstance(record, CardWrite):
            state = msgspec.structs.replace(state, write=record if record.state == "intent" else None)
    return state
