"""What can go wrong between a topology file and a running stack, each with its stable code.

* ``Refused``
    * ``TopologyInvalid``     ``topology.invalid``
    * ``HomeUnusable``        ``home.unusable``
    * ``AlreadyRunning``      ``stack.already_running``
    * ``NotRunning``          ``stack.not_running``
    * ``PortTaken``           ``port.taken``
    * ``ProgramMissing``      ``program.missing``
    * ``BalancerInvalid``     ``balancer.invalid``
    * ``ConfigInvalid``       ``config.invalid``
* ``Unavailable``
    * ``DiskFull``            ``disk.full`` (of the tree's root: nodes answer with it too)
    * ``PostgresFailed``      ``postgres.failed``
    * ``DatabaseUnreachable`` ``database.unreachable``
    * ``StartFailed``         ``stack.start_failed``
    * ``StopTimedOut``        ``stack.stop_timeout``
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warifu.adapters.disk import is_full
from warifu.kernel.errors import DiskFull, Fault, Refused, Unavailable, WarifuError


class TopologyInvalid(Refused):
    """The topology file says something that cannot be started; the text names file, key and what to do."""

    code = "topology.invalid"


class HomeUnusable(Refused):
    """The folder WARIFU_HOME names cannot be used."""

    code = "home.unusable"


class AlreadyRunning(Refused):
    """Another supervisor holds this WARIFU_HOME."""

    code = "stack.already_running"


class NotRunning(Refused):
    """No supervisor holds this WARIFU_HOME."""

    code = "stack.not_running"


class PortTaken(Refused):
    """Another program listens on a port that the topology fixes."""

    code = "port.taken"


class ProgramMissing(Refused):
    """A program that is needed is not on this machine."""

    code = "program.missing"


class BalancerInvalid(Refused):
    """HAProxy does not accept the configuration made for it."""

    code = "balancer.invalid"


class ConfigInvalid(Refused):
    """A node's configuration file, which the supervisor writes, is missing or damaged."""

    code = "config.invalid"


class PostgresFailed(Unavailable):
    """The embedded PostgreSQL does not start."""

    code = "postgres.failed"


class DatabaseUnreachable(Unavailable):
    """The database does not answer or does not let us in."""

    code = "database.unreachable"


class StartFailed(Unavailable):
    """A part of the stack does not come up."""

    code = "stack.start_failed"


class StopTimedOut(Unavailable):
    """The stack does not end in time."""

    code = "stack.stop_timeout"


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn the operating system's errors about ``place`` into ours: ``DiskFull`` or ``HomeUnusable``."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise DiskFull(f"no space left in {place}: free some, or set WARIFU_HOME to another disk") from error
        raise HomeUnusable(f"{place}: {error.strerror or error}: set WARIFU_HOME to a folder of your own") from error


def error_line(error: BaseException) -> str:
    """The one line a program of ours ends with on stderr: ``warifu: <code>: <text>``."""
    if isinstance(error, OSError) and is_full(error):
        error = DiskFull(
            f"no space left for {error.filename or 'a file'}: free some, or set WARIFU_HOME to another disk"
        )
    if isinstance(error, WarifuError):
        code, text = error.code, str(error)
    else:
        code, text = Fault.code, f"{type(error).__name__}: {error}"
    return f"warifu: {code}: {' '.join(text.split())}"


def first_error(error: BaseException) -> BaseException:
    """What really went wrong: the first of ours inside nested exception groups, else the first of any."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner = [first_error(one) for one in error.exceptions]
    return next((one for one in inner if isinstance(one, WarifuError)), inner[0])
