"""The timing model gives the documents' figures, and says what its parts are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.domain.setup_timing import counts, model, oracles
from warifu.domain.setup_timing.model import LEGACY, Overloaded, Parameters, Work
from warifu.kernel.errors import Malformed


def test_legacy_takes_71_75_seconds_in_the_mean() -> None:
    times = model.card_step(LEGACY, model.fitted(oracles.MEAN))
    assert times.total_s == pytest.approx(71.75)
    assert times.work_s == pytest.approx(10.0), "3600 s / 360 set-ups an hour"
    assert times.waiting_s == pytest.approx(10.0)


def test_cities_differ_by_the_chips_speed_alone() -> None:
    rows = {row.city: row for row in model.gains(counts.OURS)}
    totals = {city: rows[city].before.total_s for city in "ABCD"}
    assert totals == pytest.approx({"A": 74.12, "B": 54.17, "C": 87.44, "D": 71.25})
    speeds = {city: rows[city].parameters.chip_command_s for city in "ABCD"}
    assert sorted(speeds, key=speeds.__getitem__) == ["B", "D", "A", "C"]
    assert speeds["B"] == pytest.approx(0.234, abs=0.001)
    assert speeds["C"] == pytest.approx(0.462, abs=0.001)
    assert len({(row.before.waiting_s, row.before.work_s) for row in rows.values()}) == 1


def test_the_chip_speed_of_the_mean_is_the_mean_of_the_speeds() -> None:
    """The printed mean is that of the four cities (docs/seeds.md, reading 5): the model keeps it so, being linear."""
    speeds = [model.fitted(city).chip_command_s for city in oracles.CITIES.values()]
    assert sum(speeds) / 4 == pytest.approx(model.fitted(oracles.MEAN).chip_command_s, abs=1e-4)


def test_parameters_fitted_to_the_mean_predict_a_city_from_its_chip() -> None:
    """Only one number of city C goes in; its measured 87.44 s comes out of the mean's other parameters."""
    parameters = Parameters(chip_command_s=model.fitted(oracles.CITIES["C"]).chip_command_s)
    assert model.card_step(LEGACY, parameters).total_s == pytest.approx(87.44)


def test_system_and_clerk_together_take_what_the_documents_print() -> None:
    whole = {row.city: row.whole_before_s for row in model.gains(counts.OURS)[:-1]}
    assert whole == pytest.approx({"A": 120.63, "B": 75.15, "C": 141.90, "D": 124.21})


def test_ours_gains_most_of_the_card_step() -> None:
    mean = model.gains(counts.OURS)[-1]
    assert mean.whole_before_s == pytest.approx(115.47)
    assert mean.after.total_s < 10
    assert mean.gained_s == pytest.approx(mean.before.total_s - mean.after.total_s)


def test_a_city_that_asks_more_than_the_cs_can_do_has_no_mean() -> None:
    with pytest.raises(Overloaded):
        model.waiting_s(360, 10)
    assert model.waiting_s(359, 10) > 1000


@given(st.floats(1, 350), st.floats(0.001, 0.9))
def test_fewer_commands_are_never_slower(arrivals: float, chip_command_s: float) -> None:
    parameters = Parameters(arrivals_per_hour=arrivals, chip_command_s=chip_command_s)
    before = model.card_step(LEGACY, parameters)
    after = model.card_step(Work("half", 14, 73), parameters)
    assert after.total_s < before.total_s
    assert after.waiting_s <= before.waiting_s


def test_a_time_too_short_for_any_chip_is_refused() -> None:
    with pytest.raises(Malformed):
        model.fitted(oracles.Measured(30.0, 19.0, 10.0))
