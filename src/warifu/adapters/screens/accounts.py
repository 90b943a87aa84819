"""Staff accounts and logins: added, signed in, seen, locked, unlocked, signed out; each leaves its trace."""

import asyncio
from typing import Final

import msgspec
from msgspec import Struct

from warifu.adapters.screens import secrets
from warifu.adapters.screens.trail import Trail
from warifu.domain.counter import rules
from warifu.domain.counter.errors import SignInNeeded, SignInRefused, StaffExists
from warifu.domain.counter.records import Login, Staff
from warifu.kernel.errors import Stale
from warifu.ports.clock import Clock
from warifu.ports.entropy import Entropy
from warifu.ports.store import Change, Delete, Find, Get, Insert, Store, Update

CHECKS_AT_ONCE: Final = 2
"""Passwords checked at the same time: each takes 19 MiB and 60 ms of a core."""
MAX_LOGINS: Final = 100


class NewAccount(Struct, frozen=True, kw_only=True):
    """An account to be made."""

    municipality: str
    login: str
    name: str
    role: str
    password: str
    totp: bytes

    def __repr__(self) -> str:
        """Without its secrets."""
        return f"{type(self).__name__}({self.municipality}/{self.login})"


class SignedIn(Struct, frozen=True):
    """A fresh login; ``token`` goes into the browser and nowhere else."""

    token: str
    login: Login
    staff: Staff

    def __repr__(self) -> str:
        """Without the token."""
        return f"SignedIn({self.login!r})"


class Accounts:
    """Staff of the municipalities whose store this is.

    Args:
        store: of schema ``counter``.
        key: the counters' key, 32 bytes: encrypts second factors.
        clock: for locks and codes.
        entropy: for salts and tokens.
    """

    def __init__(self, store: Store, key: bytes, clock: Clock, entropy: Entropy) -> None:
        self.store = store
        self.key = key
        self.clock = clock
        self.entropy = entropy
        self.trail = Trail(store, clock, entropy)
        self._checking = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def add(self, account: NewAccount) -> Staff:
        """Make an account. ``StaffExists``, ``BadStaff``."""
        rules.require_account(account.municipality, account.login, account.role)
        staff = Staff(
            municipality=account.municipality,
            login=account.login,
            name=account.name,
            role=account.role,
            password=await asyncio.to_thread(secrets.hash_password, account.password, self.entropy),
            totp=secrets.wrap(self.key, account.totp, self.entropy),
        )
        try:
            await self.store.commit(Change(now_ms=self.clock.now_ms(), writes=(Insert(staff),)))
        except Stale:
            raise StaffExists(f"{account.municipality}/{account.login}") from None
        return staff

    async def find(self, municipality: str, login: str) -> Staff | None:
        """An account."""
        return (await self.store.read(Get(Staff, (municipality, login)))).one(0, Staff)

    async def all(self, municipality: str) -> tuple[Staff, ...]:
        """The municipality's accounts, at most a thousand."""
        return (await self.store.read(Find(Staff, {"municipality": municipality}, 1000))).all(0, Staff)

    async def sign_in(self, municipality: str, terminal: str, login: str, password: str, code: str) -> SignedIn:
        """Sign in at a terminal under a fresh token.

        Raises:
            SignInRefused: something of the three is wrong.
            SignInThrottled: too many attempts failed before.
        """
        staff = await self._proved(municipality, login, password, code)
        token = secrets.token_of(self.entropy.random_bytes(secrets.TOKEN_BYTES))
        now_ms = self.clock.now_ms()
        fresh = Login(
            login_digest=secrets.digest_of(token),
            municipality=municipality,
            staff=login,
            terminal=terminal,
            form_key=self.entropy.random_bytes(secrets.KEY_BYTES),
            began_ms=now_ms,
            seen_ms=now_ms,
        )
        trace = self.trail.trace(staff, terminal, "staff.sign_in", login, purpose="sign_in")
        await self.store.commit(trace.with_writes(Insert(fresh)))
        return SignedIn(token, fresh, staff)

    async def _proved(self, municipality: str, login: str, password: str, code: str) -> Staff:
        """The account whose password and code these are; a failure is counted, a code is used up."""
        staff = await self.find(municipality, login)
        if staff is None or not staff.active:
            async with self._checking:
                await asyncio.to_thread(secrets.spend_as_much, password)
            raise SignInRefused(login[:30])
        now_ms = self.clock.now_ms()
        rules.require_unthrottled(staff, now_ms)
        async with self._checking:
            right = await asyncio.to_thread(secrets.password_matches, password, staff.password)
        step = secrets.matching_step(secrets.unwrap(self.key, staff.totp), code, now_ms, staff.totp_step)
        proved = right and step > 0
        after = rules.signed_in(staff, step) if proved else rules.failed(staff, now_ms)
        await self.store.commit(Change(now_ms=now_ms, writes=(Update(after),)))
        if not proved:
            raise SignInRefused(login)
        return msgspec.structs.replace(after, version=after.version + 1)

    async def login_of(self, token: str, municipality: str, terminal: str) -> tuple[Login, Staff]:
        """Who is signed in with this token, at this terminal. ``SignInNeeded`` when nobody is."""
        return await self.login_by_digest(secrets.digest_of(token), municipality, terminal)

    async def login_by_digest(self, digest: bytes, municipality: str, terminal: str) -> tuple[Login, Staff]:
        """The same, by what the store keeps of the token."""
        login = (await self.store.read(Get(Login, (digest,)))).one(0, Login)
        if login is None or (login.municipality, login.terminal) != (municipality, terminal):
            raise SignInNeeded("nobody is signed in")
        staff = await self.find(municipality, login.staff)
        if staff is None or not staff.active or rules.is_over(login, self.clock.now_ms()):
            raise SignInNeeded("the login is over")
        return login, staff

    async def seen(self, login: Login) -> Login:
        """The person did something: the idle clock starts again (recorded now and then)."""
        now_ms = self.clock.now_ms()
        if now_ms - login.seen_ms < rules.SEEN_EVERY_MS:
            return login
        return await self._changed(msgspec.structs.replace(login, seen_ms=now_ms))

    async def lock(self, login: Login) -> Login:
        """Lock the screen until the password is given again."""
        return await self._changed(msgspec.structs.replace(login, locked=True))

    async def unlock(self, login: Login, staff: Staff, password: str) -> Login:
        """Unlock. ``SignInRefused`` when the password is wrong, ``SignInThrottled`` after too many."""
        now_ms = self.clock.now_ms()
        rules.require_unthrottled(staff, now_ms)
        async with self._checking:
            right = await asyncio.to_thread(secrets.password_matches, password, staff.password)
        if not right:
            await self.store.commit(Change(now_ms=now_ms, writes=(Update(rules.failed(staff, now_ms)),)))
            raise SignInRefused(staff.login)
        return await self._changed(msgspec.structs.replace(login, locked=False, seen_ms=now_ms))

    async def sign_out(self, login: Login) -> None:
        """End a login; its token is worth nothing any more."""
        await self.store.commit(Change(now_ms=self.clock.now_ms(), writes=(Delete(login),)))

    async def _changed(self, login: Login) -> Login:
        try:
            await self.store.commit(Change(now_ms=self.clock.now_ms(), writes=(Update(login),)))
        except Stale:  # another page of the same person was a moment faster
            found = (await self.store.read(Get(Login, (login.login_digest,)))).one(0, Login)
            if found is None:
                raise SignInNeeded("the login is over") from None
            return found
        return msgspec.structs.replace(login, version=login.version + 1)
