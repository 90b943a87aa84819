"""The audit trails of every node kind: exported with the keys that sign their heads, verified without any database.

An export names the keys itself, so it shows alone that nobody without the HSM touched the trail between two heads it
holds; that the keys are the right ones shows against their fingerprints, noted down when the stack was set up.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from msgspec import Struct

from warifu.adapters.store.audit import AuditBroken, AuditReport, AuditRow, Seal, verify_export
from warifu.adapters.store.postgres import PostgresStore, open_postgres
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Malformed
from warifu.nodes.sealing import head_to_sign

PAGE: Final = 10_000
SEALED_WITHIN_S: Final = 5.0
"""The nodes seal each second: what came just now is given this long."""
LOOK_EVERY_S: Final = 0.1
VERSION: Final = 1


class BadExport(Malformed):
    """The file is not an export of the audit trails."""

    code = "audit.bad_export"


class Trail(Struct, frozen=True):
    """One node kind's audit rows and seals, all of them."""

    rows: tuple[AuditRow, ...]
    seals: tuple[Seal, ...]


class Export(Struct, frozen=True, kw_only=True):
    """Every trail, by schema."""

    version: int = VERSION
    trails: dict[str, Trail]
    keys: dict[str, tuple[bytes, ...]] = {}
    """By schema: the public keys that sign its heads, SubjectPublicKeyInfo DER. None: its heads are chained only."""


class Verified(Struct, frozen=True):
    """One trail, verified."""

    report: AuditReport
    fingerprints: tuple[str, ...]
    """SHA-256 of the keys its heads are signed with, in hexadecimal; empty: nobody signs them."""


async def read_trails(urls: Mapping[str, str], keys: Mapping[str, tuple[bytes, ...]]) -> Export:
    """Read every trail, once the nodes have sealed what they have (or did not within some seconds).

    Args:
        urls: of the database, by schema; secret.
        keys: of the nodes' devices, by schema.

    Raises:
        Unavailable: the database does not answer.
    """
    trails = {}
    for schema, url in urls.items():
        async with open_postgres(url, schema, ()) as store:
            await _sealed(store)
            seals = await store.audit_seals()  # before the rows: a seal read later could cover rows not read
            trails[schema] = Trail(await _rows(store), seals)
    return Export(trails=trails, keys=dict(keys))


async def _sealed(store: PostgresStore) -> None:
    """Wait for the sealer; what it has not sealed in time is told as not sealed."""
    try:
        async with asyncio.timeout(SEALED_WITHIN_S):
            while await store.audit_rows(await _through(store), 1):  # noqa: ASYNC110 - another process seals
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        return


async def _through(store: PostgresStore) -> tuple[int, int]:
    seals = await store.audit_seals()
    return seals[-1].through if seals else (0, 0)


async def _rows(store: PostgresStore) -> tuple[AuditRow, ...]:
    rows: list[AuditRow] = []
    while page := await store.audit_rows(rows[-1].place if rows else (0, 0), PAGE):
        rows.extend(page)
    return tuple(rows)


def write(path: Path, export: Export) -> None:
    """Write an export (JSON). It names who looked at whose data: keep it as carefully as the data."""
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(export))


def read(path: Path) -> Export:
    """Read an export. ``BadExport`` when the file is none."""
    try:
        export = msgspec.json.decode(path.read_bytes(), type=Export)
    except (OSError, *NOT_DECODED) as error:
        raise BadExport(f"{path}: {error}") from error
    if export.version != VERSION:
        raise BadExport(f"{path}: version {export.version}, not {VERSION}")
    return export


def verify(
    export: Export, heads: Mapping[str, bytes], fingerprints: Mapping[str, str] | None = None
) -> dict[str, Verified]:
    """Verify every trail: its chain, and the signatures of its heads.

    Args:
        export: from ``read_trails`` or ``read``.
        heads: by schema, a head kept elsewhere: a trail that was cut off or made anew does not hold it.
        fingerprints: by schema, SHA-256 of the key that must have signed, in hexadecimal, noted down elsewhere.

    Raises:
        AuditBroken: something was changed, removed or added afterwards; the text names schema and batch.
    """
    fingerprints = fingerprints or {}
    verified = {}
    for schema in sorted(export.trails.keys() | heads.keys() | fingerprints.keys()):
        try:
            verified[schema] = _verify_trail(export, schema, heads.get(schema), fingerprints.get(schema))
        except AuditBroken as broken:
            raise AuditBroken(f"{schema}: {broken}") from None
    return verified


def _verify_trail(export: Export, schema: str, head: bytes | None, fingerprint: str | None) -> Verified:
    trail = export.trails.get(schema)
    if trail is None:
        raise AuditBroken("the trail is missing")
    keys = {fingerprint_of(key): key for key in export.keys.get(schema, ())}
    if fingerprint is not None:
        if fingerprint not in keys:
            raise AuditBroken("the export does not name the key of this fingerprint")
        keys = {fingerprint: keys[fingerprint]}
    check = signature_check(schema, tuple(keys.values())) if keys else None
    report = verify_export(trail.rows, trail.seals, expected_head=head, check_signature=check)
    return Verified(report, tuple(keys))


def fingerprint_of(key: bytes) -> str:
    """SHA-256 of a SubjectPublicKeyInfo, in hexadecimal."""
    return hashlib.sha256(key).hexdigest()


def signature_check(schema: str, keys: Sequence[bytes]) -> Callable[[Seal], None]:
    """What ``verify_export`` asks about each seal: ``AuditBroken`` unless one of the keys signed its head."""
    loaded = [key for key in map(load_der_public_key, keys) if isinstance(key, rsa.RSAPublicKey)]

    def check(seal: Seal) -> None:
        if not any(_is_good(key, seal.signature, head_to_sign(schema, seal.head)) for key in loaded):
            raise AuditBroken(f"batch {seal.batch}: its head is not signed by the node's key")

    return check


def _is_good(key: rsa.RSAPublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
