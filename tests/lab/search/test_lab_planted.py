"""Faults planted in node code, one for each property that nothing else here makes fail: the search finds them."""

from collections.abc import Callable

import pytest

from warifu.lab.search.search import run_batch
from warifu.nodes import relay
from warifu.nodes.hsm_pool import HsmPool


def places_never_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(relay, "_is_over", lambda *_: False)


def a_session_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    remember = HsmPool.message_session

    def forgetful(self: HsmPool, label: str, session: bytes, encapsulation: bytes, info: bytes) -> None:
        remember(self, label, session, encapsulation, info)
        self._sessions.popitem()

    patch.setattr(HsmPool, "message_session", forgetful)


@pytest.mark.parametrize(
    ("plant", "scenario", "first", "broken"),
    [
        (places_never_end, "relay", 0, "a place ends with its operation"),
        (a_session_is_forgotten, "hsm", 0, "as many sessions as the limits say are kept"),
    ],
)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], scenario: str, first: int, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert [found.property for found in run_batch(range(first, first + 20), (), scenario).found] == [broken]
