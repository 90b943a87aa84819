"""Counts and durations of steps."""

import pytest

from warifu.demo.tally import STEPS, StepFailed, Tally, percentile
from warifu.kernel.errors import NotAllowed


class Screen:
    def __init__(self) -> None:
        self.ends: list[tuple[str, bool]] = []

    def expect(self, step: str, count: int) -> None:
        raise AssertionError((step, count))

    def ended(self, step: str, seconds: float, *, failed: bool) -> None:
        assert seconds >= 0
        self.ends.append((step, failed))


def test_a_step_is_measured() -> None:
    times = iter((10.0, 12.5))
    screen = Screen()
    tally = Tally(screen, lambda: next(times))
    with tally.step("read", "someone"):
        pass
    assert tally.steps()["read"].seconds_p50 == 2.5
    assert screen.ends == [("read", False)]
    assert not tally.problems


def test_a_failed_step_is_counted_and_told() -> None:
    screen = Screen()
    tally = Tally(screen)
    with pytest.raises(StepFailed), tally.step("sign", "someone"):
        raise NotAllowed("no")
    figures = tally.steps()["sign"]
    assert (figures.count, figures.failed) == (1, 1)
    assert tally.problems == ["sign: someone: request.not_allowed: no"]
    assert screen.ends == [("sign", True)]


def test_steps_are_told_in_their_order() -> None:
    tally = Tally(Screen())
    for name in reversed(STEPS):
        tally.done(name, 1.0)
    assert tuple(tally.steps()) == STEPS


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([], 0.5, 0.0),
        ([3.0], 0.99, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        (list(map(float, range(1, 101))), 0.99, 99.0),
    ],
)
def test_percentile(values: list[float], share: float, wanted: float) -> None:
    assert percentile(values, share) == wanted
