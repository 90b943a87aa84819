"""Figures of a load run, from samples that are known."""

import os

from warifu.lab.load.meter import EXCESS, Moment, Sample, Usage, cpu_used, family, latency, seconds, usage_of


def sample(at_s: float, took_ms: float, outcome: str = "ok", what: str = "setup") -> Sample:
    return Sample(at_s, took_ms, what, outcome)


def test_percentiles_are_of_what_was_answered_well() -> None:
    samples = [sample(0, float(n)) for n in range(1, 101)] + [sample(0, 9_999.0, "deadline.passed")]
    found = latency(samples)
    assert (found.p50, found.p99, found.p999) == (51.0, 100.0, 100.0)


def test_of_nothing_there_is_no_latency() -> None:
    assert latency([]).p99 == 0.0


def test_a_second_counts_what_ended_in_it() -> None:
    found = seconds([sample(0.2, 100), sample(0.5, 900), sample(1.2, 10, EXCESS), sample(1.3, 10, "fault")])
    assert [(one.done, one.refused, one.failed) for one in found] == [(1, 0, 0), (1, 1, 1)]
    assert found[1].by_what == {"setup": 1}


def test_processors_are_told_by_kind_of_process() -> None:
    before = Moment(0.0, {"relay-1": Usage(1.0, 50), "relay-1/hsm-0": Usage(0.5, 40)})
    after = Moment(2.0, {"relay-1": Usage(2.0, 50), "relay-1/hsm-0": Usage(0.6, 40), "relay-2": Usage(1.0, 50)})
    used = cpu_used(before, after)
    assert list(used) == ["relay", "hsm"]
    assert used["relay"] == 1.0


def test_a_process_started_anew_gives_nothing_back() -> None:
    assert cpu_used(Moment(0.0, {"cs-1": Usage(9.0, 50)}), Moment(1.0, {"cs-1": Usage(0.5, 50)})) == {"cs": 0.0}


def test_this_process_is_seen_with_its_memory_and_sockets() -> None:
    found = usage_of(os.getpid(), count_sockets=True)
    assert found is not None
    assert found.rss_mb > 1
    assert os.getpid() in family(os.getppid())


def test_a_process_that_is_gone_is_none() -> None:
    assert usage_of(2**22 + 1) is None
