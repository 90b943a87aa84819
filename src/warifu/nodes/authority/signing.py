"""The authorities' own keys: one label a generation, in the HSM; certificates found by key, never by name."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, get_args

from warifu.contract.values import CertificateKind
from warifu.domain.certificates.records import CaGeneration
from warifu.domain.pki import profile
from warifu.domain.pki.dates import Validity
from warifu.domain.pki.lint import lint_certificate
from warifu.domain.pki.profile import FIRST_SERIAL, Profile, RootContent, assemble, root_tbs
from warifu.kernel.errors import Fault, Stale
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.clock import Clock
from warifu.ports.hsm import CreateKey, Sign
from warifu.ports.store import Change, Find, Insert, JournalEntry, Store

KINDS: Final[tuple[CertificateKind, ...]] = get_args(CertificateKind)
ROOT_YEARS_MS: Final = 10 * 365 * 86_400_000
KEY_MS: Final = 30_000
LOOK_AGAIN_MS: Final = 60_000
MAX_TRIES: Final = 5
"""To make the first generation."""


class Signer:
    """Holds what every signature of an authority needs: the generations and the way to the HSM.

    Attributes:
        told: of each CA's generations when they are read; must return at once.
    """

    def __init__(self, store: Store, hsm: HsmPool, clock: Clock, names: Profile) -> None:
        self.store = store
        self.hsm = hsm
        self.clock = clock
        self.profile = names
        self._generations: dict[CertificateKind, tuple[CaGeneration, ...]] = {}
        self._loaded_ms: dict[CertificateKind, int] = {}
        self._first = asyncio.Lock()
        self.told: Callable[[Sequence[CaGeneration]], None] = lambda _: None

    async def generations(self, kind: CertificateKind) -> tuple[CaGeneration, ...]:
        """Every generation, newest last; the first is made when there is none (key ceremony of a test service)."""
        async with self._first:
            # Another process of this node may have held a key ceremony.
            stale = not 0 <= self.clock.now_ms() - self._loaded_ms.get(kind, 0) < LOOK_AGAIN_MS
            if kind not in self._generations or stale:
                self._generations[kind] = await self._load(kind)
                self._loaded_ms[kind] = self.clock.now_ms()
                self.told(self._generations[kind])
            return self._generations[kind]

    async def newest(self, kind: CertificateKind) -> CaGeneration:
        """The generation that issues now: the newest that is active."""
        known, now_ms = await self.generations(kind), self.clock.now_ms()
        return next((each for each in reversed(known) if each.active_from_ms <= now_ms), known[0])

    def forget(self, kind: CertificateKind) -> None:
        """Look again for generations: there is a new one."""
        self._generations.pop(kind, None)

    async def generation(self, kind: CertificateKind, number: int) -> CaGeneration:
        """A generation by its number. ``Fault`` when there is none."""
        for _ in range(2):
            for each in await self.generations(kind):
                if each.generation == number:
                    return each
            self.forget(kind)  # another process of this node has made it, and issued with it, since this one looked
        raise Fault(f"no generation {number} of the {kind} authority")

    def authority(self, generation: CaGeneration) -> profile.Authority:
        """A generation as the profile's functions want it."""
        kind: CertificateKind = "signature" if generation.ca == "signature" else "authentication"
        return profile.Authority(kind=kind, public_key=generation.public_key, profile=self.profile)

    async def next_serial(self, kind: CertificateKind) -> int:
        """A serial number that this CA never gave and never gives again: one counter for all it signs."""
        return FIRST_SERIAL - 1 + await self.store.reserve(f"serial:{kind}", 1)

    async def next_serials(self, kind: CertificateKind, count: int) -> range:
        """So many of them at once."""
        first = FIRST_SERIAL - 1 + await self.store.reserve(f"serial:{kind}", count)
        return range(first, first + count)

    async def sign_many(self, generation: CaGeneration, texts: Sequence[bytes], deadline_ms: int) -> list[bytes]:
        """Each of what was signed, with its signature."""
        signatures = await self.hsm.signatures(generation.key_label, texts, deadline_ms)
        return [assemble(tbs, signature) for tbs, signature in zip(texts, signatures, strict=True)]

    async def sign(self, generation: CaGeneration, tbs: bytes, deadline_ms: int) -> bytes:
        """What was signed, with its signature."""
        return assemble(tbs, await self.hsm.bytes_of(Sign(generation.key_label, tbs), deadline_ms))

    async def _load(self, kind: CertificateKind) -> tuple[CaGeneration, ...]:
        for _ in range(MAX_TRIES):
            found = (await self.store.read(Find(CaGeneration, {"ca": kind}))).all(0, CaGeneration)
            if found:
                return found
            first = await self.make(kind, 1)
            entry = JournalEntry(f"ca:{kind}", "generation_made", "", {"generation": 1})
            try:
                await self.store.commit(Change(now_ms=self.clock.now_ms(), writes=(Insert(first),), journal=(entry,)))
            except Stale:
                continue  # another process made it first; or the store gave the commit up
        raise Stale(f"no generation of the {kind} authority yet")

    async def make(self, kind: CertificateKind, number: int, active_from_ms: int = 0) -> CaGeneration:
        """A generation's key, made in the HSM unless it is there, and its self-signed certificate; not stored yet."""
        label = f"jpki-ca-{kind}-{number}"
        public_key = await self.hsm.bytes_of(CreateKey(label, "sign"), KEY_MS)
        now_ms = self.clock.now_ms() // 1000 * 1000
        content = RootContent(
            serial=await self.next_serial(kind),
            validity=Validity(not_before_ms=now_ms, not_after_ms=now_ms + ROOT_YEARS_MS),
        )
        authority = profile.Authority(kind=kind, public_key=public_key, profile=self.profile)
        tbs = root_tbs(authority, content)
        lint_certificate(authority, content, tbs)
        der = assemble(tbs, await self.hsm.bytes_of(Sign(label, tbs), KEY_MS))
        return CaGeneration(
            ca=kind,
            generation=number,
            key_label=label,
            public_key=public_key,
            der=der,
            active_from_ms=active_from_ms,
        )
