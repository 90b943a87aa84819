"""WARIFU_HOME: the one folder in which a stack lives, so that two stacks run side by side."""

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from warifu.stack.errors import AlreadyRunning, disk_errors

_PRIVATE = ("anchors", "backlogs", "keys", "cards", "logs", "run", "run/nodes", "secrets", "tls")


@dataclass(frozen=True)
class Home:
    """Where everything of one stack is kept: data, keys, cards, logs.

    The folder itself may be passed through by others (mode 0711) because PostgreSQL, which refuses to run as root,
    keeps its data inside it under another user; each folder in it is its owner's alone (0700).
    """

    root: Path

    @property
    def lock(self) -> Path:
        """Held by the supervisor while it runs; contains its process id."""
        return self.root / "lock"

    @property
    def keys(self) -> Path:
        """Software key stores and SoftHSM tokens, one folder a node."""
        return self.root / "keys"

    @property
    def anchors(self) -> Path:
        """The CA certificates that terminals trust."""
        return self.root / "anchors"

    @property
    def backlogs(self) -> Path:
        """What each CS has taken on and not brought to an end."""
        return self.root / "backlogs"

    @property
    def cards(self) -> Path:
        """The virtual cards."""
        return self.root / "cards"

    @property
    def lists(self) -> Path:
        """Published revocation lists, newest editions only."""
        return self.root / "lists"

    @property
    def logs(self) -> Path:
        """JSON lines, one file a process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What only a running stack needs."""
        return self.root / "run"

    @property
    def secrets(self) -> Path:
        """Passwords, each in a file of mode 0600."""
        return self.root / "secrets"

    @property
    def tls(self) -> Path:
        """The certificates with which nodes know each other."""
        return self.root / "tls"

    @property
    def status(self) -> Path:
        """What the running stack says of itself (``warifu.stack.status``)."""
        return self.run / "status.json"

    def node_config(self, name: str) -> Path:
        """The configuration file of one node."""
        return self.run / "nodes" / f"{name}.json"

    def prepare(self) -> None:
        """Make the folder and what is in it. ``HomeUnusable`` or ``DiskFull`` when that cannot be done."""
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            if self.root.stat().st_uid == os.geteuid():
                self.root.chmod(0o711)
            for name in _PRIVATE:
                (self.root / name).mkdir(mode=0o700, exist_ok=True)

    def holder(self) -> int | None:
        """Process id of the supervisor that holds this home, or None when none does (0: not known yet)."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _process_id(os.read(descriptor, 20))
        finally:
            os.close(descriptor)
        return None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the home for oneself. ``AlreadyRunning`` when another does."""
        with disk_errors(self.lock):
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            process_id = _process_id(os.read(descriptor, 20))
            raise AlreadyRunning(
                f"process {process_id} already runs a stack in {self.root}: `warifu down` ends it, "
                "another WARIFU_HOME starts a second one beside it",
            ) from error
        with disk_errors(self.lock):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def _process_id(content: bytes) -> int:
    return int(content) if content.strip().isdigit() else 0


def default_home() -> Home:
    """``$WARIFU_HOME``, or ``warifu`` in the platform's folder for a user's data."""
    named = os.environ.get("WARIFU_HOME")
    if named:
        return Home(Path(named).expanduser().absolute())
    if sys.platform == "darwin":
        return Home(Path.home() / "Library" / "Application Support" / "warifu")
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Home(Path(data) / "warifu")


@contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """A name of a folder that is short enough for a Unix socket in it (108 bytes), whatever WARIFU_HOME is."""
    if not sys.platform.startswith("linux"):
        yield str(folder)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file so that a reader (or a crash) sees the old content or the new, never half of one."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
