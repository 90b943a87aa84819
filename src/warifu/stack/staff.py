"""Staff accounts of a stack: the counters' key, the accounts that a demonstration begins with, and adding others.

A demonstration's accounts and their secrets stand in ``secrets/demo-staff.json``, readable by the owner alone; accounts
that were added are known by whoever added them.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.screens import secrets
from warifu.adapters.screens.accounts import Accounts, NewAccount
from warifu.adapters.store.postgres import open_postgres
from warifu.domain.counter.records import RECORDS
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import NotFound
from warifu.ports.entropy import Entropy
from warifu.stack.errors import ConfigInvalid, disk_errors
from warifu.stack.home import Home, write_file
from warifu.stack.topology import Topology

SCHEMA: Final = "counter"
DEMO: Final[tuple[tuple[str, str, str], ...]] = (
    ("clerk", "窓口　一郎", "counter"),
    ("manager", "管理　二葉", "manager"),
    ("auditor", "監査　三津", "auditor"),
)
"""Login, name and role of each municipality's demonstration accounts."""
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_PASSWORD_LETTERS: Final = 16


class DemoAccount(NewAccount, frozen=True, kw_only=True):
    """An account of a demonstration, with its secrets."""

    def code(self, now_ms: int) -> str:
        """The second factor's code now."""
        return secrets.code_of(self.totp, secrets.step_of(now_ms))


def new_password(entropy: Entropy) -> str:
    """Sixteen letters and digits that are not mistaken for each other: 79 bits."""
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in entropy.random_bytes(_PASSWORD_LETTERS))


def key_of(home: Home) -> bytes:
    """The counters' key. ``ConfigInvalid`` when the stack never made one."""
    try:
        return _key_path(home).read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"{_key_path(home)}: {error.strerror}: `warifu up` makes it") from error


def demo_accounts(home: Home) -> tuple[DemoAccount, ...]:
    """The demonstration's accounts; none when the topology asks for none."""
    try:
        return msgspec.json.decode(_demo_path(home).read_bytes(), type=tuple[DemoAccount, ...])
    except FileNotFoundError:
        return ()
    except NOT_DECODED as error:
        raise ConfigInvalid(f"{_demo_path(home)}: {error}: remove it, and add accounts anew") from error


def demo_account(home: Home, municipality: str, login: str) -> DemoAccount:
    """One of them. ``NotFound`` when it is none."""
    found = next((one for one in demo_accounts(home) if (one.municipality, one.login) == (municipality, login)), None)
    if found is None:
        raise NotFound(f"demonstration account {login} of {municipality}")
    return found


def sign_in_lines(home: Home, urls: Mapping[str, str]) -> tuple[str, ...]:
    """Where and how people sign in at the counters, for who starts a stack; empty without demonstration accounts."""
    lines = []
    for one in demo_accounts(home):
        url = urls.get(f"terminal-{one.municipality}")
        if url and one.role == "counter":
            lines.append(f"counter {one.municipality}: {url}  login {one.login}  password {one.password}")
    if lines:
        lines.append("the code that changes every 30 s: warifu staff code clerk --municipality CODE")
    return tuple(lines)


@asynccontextmanager
async def accounts(home: Home, database_url: str) -> AsyncIterator[Accounts]:
    """The staff in a database."""
    async with open_postgres(database_url, SCHEMA, RECORDS) as store:
        yield Accounts(store, key_of(home), SystemClock(), SystemEntropy())


async def prepare(home: Home, topology: Topology, database_url: str) -> None:
    """Make the counters' key and, where the topology asks for it, the demonstration's accounts, if they lack."""
    entropy = SystemEntropy()
    with disk_errors(home.secrets):
        if not _key_path(home).exists():
            write_file(_key_path(home), entropy.random_bytes(secrets.KEY_BYTES))
    if not topology.demo_staff:
        return
    places = sorted({node.municipality for node in topology.node if node.kind == "terminal"})
    known = demo_accounts(home)
    wanted = [(place, *who) for place in places for who in DEMO]
    missing = [one for one in wanted if one[:2] not in {(each.municipality, each.login) for each in known}]
    fresh = tuple(
        DemoAccount(
            municipality=place,
            login=login,
            name=name,
            role=role,
            password=new_password(entropy),
            totp=entropy.random_bytes(secrets.TOTP_BYTES),
        )
        for place, login, name, role in missing
    )
    with disk_errors(home.secrets):
        write_file(_demo_path(home), msgspec.json.encode((*known, *fresh)))
    await _add(home, topology, database_url, (*known, *fresh))


async def _add(home: Home, topology: Topology, database_url: str, wanted: tuple[DemoAccount, ...]) -> None:
    """Those that the database lacks: it may be a new one."""
    urls = {node.municipality: node.database or database_url for node in topology.node if node.kind == "terminal"}
    for one in wanted:
        if one.municipality not in urls:
            continue
        async with accounts(home, urls[one.municipality]) as staff:
            if await staff.find(one.municipality, one.login) is None:
                await add(staff, one)


async def add(staff: Accounts, one: DemoAccount) -> None:
    """Make an account. ``StaffExists``, ``BadStaff``."""
    await staff.add(one)


def _key_path(home: Home) -> Path:
    return home.secrets / "counter.key"


def _demo_path(home: Home) -> Path:
    return home.secrets / "demo-staff.json"
