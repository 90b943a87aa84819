"""A run in the documents' own terms: operations a day, set-ups an hour at the largest town, beside their figures."""

from collections.abc import Mapping

from warifu.lab.load.page import Section, rows_of
from warifu.lab.load.result import FULL_HOURS, OPERATIONS_A_DAY, SETUPS_AN_HOUR


def a_day(rate: float) -> float:
    """Operations in a day whose peak hours have this rate (a second)."""
    return rate * FULL_HOURS * 3600


def in_documents_terms(
    rates: Mapping[str, float], setups_an_hour: float, others: Mapping[str, float] | None = None
) -> Section:
    """The section of a report.

    Args:
        rates: operations completed a second, by what they were ("at its peak").
        setups_an_hour: at the largest town, with no other at work.
        others: further rows.
    """
    figures: dict[str, float | str] = {
        f"this run, {name} (operations a day)": a_day(one) for name, one in rates.items()
    }
    figures |= {f"{name} (operations a day)": float(value) for name, value in OPERATIONS_A_DAY.items()}
    figures |= {"this run, largest town alone (set-ups an hour)": setups_an_hour}
    figures |= {f"{name} (set-ups an hour)": float(value) for name, value in SETUPS_AN_HOUR.items()}
    completed = ", ".join(f"{one:.1f} {name}" for name, one in rates.items())
    words = f"Operations completed a second: {completed}. A day counts {FULL_HOURS} full hours of them."
    return Section(
        "In the documents' terms", "資料の尺度で", words, rows_of(("what", "figure"), figures | dict(others or {}))
    )
