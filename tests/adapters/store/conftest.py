"""A PostgreSQL of our own for the session, and both stores under one fixture."""

import asyncio
import inspect
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from store_database import DEADLINE_S, AnyStore, OpenStore, await_ready, launch, make_schema
from store_records import RECORDS

from warifu.adapters.store.memory import MemoryStore
from warifu.adapters.store.postgres import PostgresLimits, PostgresStore, open_postgres


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """Where the session's PostgreSQL listens."""
    password = secrets.token_hex(8)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="warifu-store-"))
    server = launch(folder, port, password)
    try:
        reader = await_ready(server)
        yield f"postgresql://warifu:{password}@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(DEADLINE_S)
        reader.join(DEADLINE_S)
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for the test and its fixtures."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on the fixture's loop, under a deadline."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def within_deadline() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await pyfuncitem.obj(**wanted)

    runner = pyfuncitem.funcargs["runner"]
    assert isinstance(runner, asyncio.Runner)
    runner.run(within_deadline())
    return True


@pytest.fixture
def schema() -> str:
    """A schema name of the test's own."""
    return f"test_{secrets.token_hex(6)}"


@pytest.fixture
def open_store(database_url: str, schema: str, runner: asyncio.Runner) -> OpenStore:
    """Opens further PostgreSQL stores on the test's schema, with limits of choice."""
    runner.run(make_schema(database_url, schema))

    @asynccontextmanager
    async def opened(limits: PostgresLimits) -> AsyncIterator[PostgresStore]:
        async with open_postgres(database_url, schema, RECORDS, limits) as store:
            yield store

    return opened


@pytest.fixture
def postgres(open_store: OpenStore, runner: asyncio.Runner) -> Iterator[PostgresStore]:
    """The PostgreSQL store, empty."""
    stack = AsyncExitStack()
    yield runner.run(stack.enter_async_context(open_store(PostgresLimits(connections=12))))
    runner.run(stack.aclose())


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
def store(request: pytest.FixtureRequest) -> AnyStore:
    """Each store in turn, empty."""
    if request.param == "memory":
        return MemoryStore(RECORDS)
    found: PostgresStore = request.getfixturevalue("postgres")
    return found


@pytest.fixture
def unused_tcp_port() -> Iterator[int]:
    """A port that nobody listens on: bound here, so that nobody else can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
