"""``warifu staff``: who may sign in at the counters."""

import argparse
import asyncio
import sys
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.screens import secrets
from warifu.domain.counter.records import Staff
from warifu.domain.counter.rules import require_account
from warifu.kernel.errors import NotFound
from warifu.stack import config, staff, status
from warifu.stack.config import NodeConfig
from warifu.stack.home import Home, default_home
from warifu.stack.staff import DemoAccount

_EPILOG = """\
examples:
  warifu staff list                                        the accounts at every counter of the running stack
  warifu staff add hanako --municipality 131016 --role counter --name "割符　花子"
                                                           prints password and authenticator key, once
  warifu staff code clerk                                  a demonstration account: password and present code
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    parser = subparsers.add_parser("staff", help="who may sign in at the counters", epilog=_EPILOG)
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    form = argparse.RawDescriptionHelpFormatter
    what.add_parser("list", help="the accounts at every counter", epilog=_EPILOG, formatter_class=form)
    summary = "add an account; prints its password and authenticator key, once"
    add = what.add_parser("add", help=summary, epilog=_EPILOG, formatter_class=form)
    add.add_argument("login", help="3 to 30 of a-z 0-9 . -")
    add.add_argument("--municipality", required=True, metavar="CODE", help="six digits")
    add.add_argument("--role", choices=("counter", "manager", "auditor"), default="counter")
    add.add_argument("--name", default="", help="as shown on screens; the login by default")
    summary = "a demonstration account's password and code of this moment"
    code = what.add_parser("code", help=summary, epilog=_EPILOG, formatter_class=form)
    code.add_argument("login")
    code.add_argument("--municipality", default="", metavar="CODE", help="the first counter's by default")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when what was asked happened."""
    home = default_home()
    if args.what == "code":
        _code(home, args.login, args.municipality)
    elif args.what == "add":
        _add(home, args)
    else:
        _list(home)
    return 0


def _terminals(home: Home) -> tuple[NodeConfig, ...]:
    """The running stack's terminals, one a municipality. ``NotFound`` when it has none."""
    names = [node.name for node in status.read(home).nodes if node.kind == "terminal"]
    found = {each.node.municipality: each for each in (config.read(home, name) for name in names)}
    if not found:
        raise NotFound("the running stack has no terminal")
    return tuple(found.values())


def _code(home: Home, login: str, municipality: str) -> None:
    where = municipality or _terminals(home)[0].node.municipality
    account = staff.demo_account(home, where, login)
    code = account.code(SystemClock().now_ms())
    sys.stdout.write(f"login {login}  password {account.password}  code {code}  (municipality {where})\n")


def _add(home: Home, args: argparse.Namespace) -> None:
    require_account(args.municipality, args.login, args.role)
    own = next((each for each in _terminals(home) if each.node.municipality == args.municipality), None)
    if own is None:
        raise NotFound(f"a terminal of municipality {args.municipality} in the running stack")
    entropy = SystemEntropy()
    account = DemoAccount(
        municipality=args.municipality,
        login=args.login,
        name=args.name or args.login,
        role=args.role,
        password=staff.new_password(entropy),
        totp=entropy.random_bytes(secrets.TOTP_BYTES),
    )
    asyncio.run(_add_to(home, own.database_url, account))
    key = secrets.secret_text(account.totp)
    label = quote(f"warifu:{args.login}@{args.municipality}")
    sys.stdout.write(f"login: {args.login}\npassword: {account.password}\nauthenticator key: {key}\n")
    sys.stdout.write(f"otpauth://totp/{label}?secret={key}&issuer=warifu\n")


async def _add_to(home: Home, url: str, account: DemoAccount) -> None:
    async with staff.accounts(home, url) as accounts:
        await staff.add(accounts, account)


def _list(home: Home) -> None:
    table = Table("municipality", "login", "role", "name", "state", box=None, pad_edge=False)
    for terminal in _terminals(home):
        for one in asyncio.run(_all(home, terminal)):
            state = "active" if one.active else "closed"
            table.add_row(one.municipality, one.login, one.role, one.name, state)
    Console(soft_wrap=True).print(table)


async def _all(home: Home, terminal: NodeConfig) -> tuple[Staff, ...]:
    async with staff.accounts(home, terminal.database_url) as accounts:
        return await accounts.all(terminal.node.municipality)
