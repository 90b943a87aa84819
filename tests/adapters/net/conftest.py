"""Every test of this folder runs on asyncio's loop and on uvloop's; node certificates are made once."""

import asyncio
import inspect
from collections.abc import Callable

import pytest
import uvloop
from net_kit import DEADLINE_S, Certificates, RecordingLog

from warifu.adapters.net.tls import issue_node_certificate, make_authority

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append("loop_kind")
        metafunc.parametrize("loop_kind", LOOPS)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test(**{name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters})

    with asyncio.Runner(loop_factory=LOOPS[str(pyfuncitem.callspec.params["loop_kind"])]) as runner:
        runner.run(bounded())
    return True


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """``cs-1``, ``relay-1``, ``relay-2`` of one authority; ``stranger``: a relay-1 of another."""
    folder, elsewhere = tmp_path_factory.mktemp("authority"), tmp_path_factory.mktemp("elsewhere")
    for each in (folder, elsewhere):
        make_authority(each)
    return Certificates(
        cs=issue_node_certificate(folder, "cs-1"),
        relay=issue_node_certificate(folder, "relay-1"),
        second_relay=issue_node_certificate(folder, "relay-2"),
        strange_cs=issue_node_certificate(elsewhere, "cs-1"),
        strange_relay=issue_node_certificate(elsewhere, "relay-1"),
    )


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()
