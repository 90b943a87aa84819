"""A disk that is really full: a tmpfs of a few megabytes, which only the story's own process and its children see.

Making one needs root, or a machine that lets users have namespaces of their own; where neither is so the test fails and
says why. Nothing is left of it: it goes with the last process of the story.
"""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

WITHIN_S = 100
_BEGIN = "from pathlib import Path; from {module} import {name} as story; from small_disk import SmallDisk; "
_MOUNT = 'mount -t tmpfs -o "size=$1m,mode=0711" warifu "$2" && shift 2 && exec "$@"'


class SmallDisk:
    """The disk, as the story sees it. Its folder may be passed by other users: PostgreSQL's is one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Until the kernel does not take one more byte."""
        size = 1 << 20
        with self._ballast.open("ab", buffering=0) as file:
            while size:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def make_room(self) -> None:
        """What ``fill`` took."""
        self._ballast.unlink()

    def free(self) -> int:
        """Bytes."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize


def on_a_small_disk(story: Callable[[SmallDisk], None], megabytes: int) -> None:
    """Run a story, a function of a test's module, on such a disk."""
    with tempfile.TemporaryDirectory(prefix="warifu-small-disk-") as folder:
        begin = _BEGIN.format(module=story.__module__, name=story.__name__) + f"story(SmallDisk(Path({folder!r})))"
        mount = ["sh", "-c", _MOUNT, "sh", str(megabytes), folder]
        done = subprocess.run(
            [*_namespace(), *mount, *_as_before(), sys.executable, "-P", "-c", begin],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def _namespace() -> list[str]:
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


def _as_before() -> list[str]:
    """Who had to look like root to mount is themselves again: PostgreSQL refuses to run as root."""
    if os.geteuid() == 0:
        return []
    return ["unshare", "--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}"]
