"""Keys of the HSMs: which there are, and their making before the first node starts.

The one inventory of a stack is a file for each device, ``keys/<token>/inventory.json``: label, owner, purpose, and the
public half where there is one. A key that is in it is not made again.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from warifu.adapters.hsm.config import HsmConfig, Pkcs11Config
from warifu.adapters.hsm.prepare import copy_device, prepare_softhsm, prepare_software, softhsm_config, software_config
from warifu.adapters.hsm.process import ProcessHsmFactory
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Unavailable
from warifu.nodes.authority.applet import CARD_MASTER as JPKI_CARD_MASTER
from warifu.nodes.authority.key_pool import WRAP_KEY as KEY_PAIRS_KEY
from warifu.nodes.authority.searching import NAMES_KEY
from warifu.nodes.center.scripts import CARD_MASTER, CODE_KEY, ROOT_KEY, SIGNING_KEY
from warifu.nodes.numbering import INDEX_KEY, WRAP_KEY
from warifu.nodes.relay import MESSAGE_KEY
from warifu.nodes.sealed_keys import FACTORY_KEY
from warifu.nodes.sealing import AUDIT_KEY
from warifu.ports.hsm import Bytes, CreateKey, HsmWorker, Purpose, Rejected
from warifu.stack.errors import ConfigInvalid, disk_errors
from warifu.stack.home import Home, write_file
from warifu.stack.topology import Hsm, Node, Topology

CREATE_WITHIN_S: Final = 30.0
"""SoftHSM2 takes about half a second for an RSA pair; real devices take longer."""

START_WITHIN_MS: Final = 60_000
"""A first start on a busy machine begins all workers at once; nobody waits at a counter yet."""

_AUDIT: Final[tuple[str, Purpose]] = (AUDIT_KEY, "sign")

KEYS: Final[dict[str, tuple[tuple[str, Purpose], ...]]] = {
    "registry": (_AUDIT,),
    "numbering": ((WRAP_KEY, "wrap"), (INDEX_KEY, "mac"), _AUDIT),
    "intake": (_AUDIT,),
    "front": (_AUDIT,),
    "center": ((SIGNING_KEY, "sign"), (ROOT_KEY, "sign"), (CARD_MASTER, "card-master"), (CODE_KEY, "mac"), _AUDIT),
    "issuance": ((FACTORY_KEY, "agree"), _AUDIT),
    "authority": ((JPKI_CARD_MASTER, "card-master"), (KEY_PAIRS_KEY, "wrap"), (NAMES_KEY, "mac"), _AUDIT),
    "relay": ((MESSAGE_KEY, "agree"),),
}
"""By kind of node: label and purpose of the keys its device holds from the first start on.

Keys that come later -- the certificate authorities', one a generation, and the responders' -- are made by their nodes.
"""


class Key(Struct, frozen=True, kw_only=True):
    """One line of the inventory."""

    label: str
    owner: str
    purpose: Purpose
    public_key: bytes = b""
    """SubjectPublicKeyInfo DER; empty for symmetric keys."""


class Inventory(Struct, frozen=True):
    """The keys of one device."""

    keys: tuple[Key, ...] = ()

    def find(self, label: str) -> Key | None:
        """The key of this label."""
        return next((key for key in self.keys if key.label == label), None)


def devices(home: Home, node: Node) -> tuple[HsmConfig, ...]:
    """A node's devices. The second is a copy of the first, and may be gone. Errors as for ``device``."""
    first = device(home, node)
    if node.hsm is None or node.hsm.devices == 1:
        return (first,)
    folder = _copy(home, node.token_name)
    if node.hsm.kind == "software":
        return first, software_config(folder)
    return first, _with_library(softhsm_config(folder, node.token_name), node.hsm)


def device(home: Home, node: Node) -> HsmConfig:
    """A node's first device, made if it was not there. ``Unavailable`` when SoftHSM2 is wanted and missing."""
    wanted = node.hsm
    if wanted is None:
        raise ConfigInvalid(f"node {node.name!r} needs an HSM: add hsm = {{ workers = 1 }} to its table")
    folder = home.keys / node.token_name
    if wanted.kind == "software":
        return prepare_software(folder)
    return _with_library(prepare_softhsm(folder, node.token_name), wanted)


def _with_library(config: Pkcs11Config, wanted: Hsm) -> Pkcs11Config:
    return msgspec.structs.replace(config, module=wanted.library) if wanted.library else config


def _copy(home: Home, token: str) -> Path:
    return home.keys / f"{token}.copy"


def read_inventory(home: Home, token: str) -> Inventory:
    """What is known of a device's keys; empty before the first start."""
    try:
        return msgspec.json.decode(_path(home, token).read_bytes(), type=Inventory)
    except FileNotFoundError:
        return Inventory()
    except NOT_DECODED as error:
        raise ConfigInvalid(f"{_path(home, token)}: {error}: remove it, and the keys are listed anew") from error


def public_key(home: Home, token: str, label: str) -> bytes:
    """A public key from the inventory, SubjectPublicKeyInfo DER. ``ConfigInvalid`` when it is not there."""
    key = read_inventory(home, token).find(label)
    if key is None or not key.public_key:
        raise ConfigInvalid(f"no public key {label!r} in {_path(home, token)}: `warifu up` makes the keys")
    return key.public_key


def audit_keys(home: Home, topology: Topology) -> dict[str, tuple[bytes, ...]]:
    """By node kind: the public keys that sign the heads of its audit trail; none where its nodes have no device."""
    found: dict[str, dict[bytes, None]] = {}
    for node in topology.node:
        key = read_inventory(home, node.token_name).find(AUDIT_KEY) if node.hsm else None
        if key is not None:
            found.setdefault(node.kind, {})[key.public_key] = None
    return {kind: tuple(keys) for kind, keys in sorted(found.items())}


async def make_keys(home: Home, topology: Topology) -> None:
    """Make every key that the nodes' devices lack, device by device at the same time.

    Raises:
        Unavailable: a device does not do it.
    """
    by_token = {node.token_name: node for node in topology.node if node.hsm is not None and node.kind in KEYS}
    async with asyncio.TaskGroup() as group:
        for node in by_token.values():
            group.create_task(_make_keys_of(home, node))


async def _make_keys_of(home: Home, node: Node) -> None:
    known = read_inventory(home, node.token_name)
    missing = [(label, purpose) for label, purpose in KEYS[node.kind] if known.find(label) is None]
    if missing:
        await _make_missing(home, node, known, missing)
    if node.hsm is not None and node.hsm.devices > 1:
        with disk_errors(home.keys):
            await asyncio.to_thread(copy_device, home.keys / node.token_name, _copy(home, node.token_name))


async def _make_missing(home: Home, node: Node, known: Inventory, missing: Sequence[tuple[str, Purpose]]) -> None:
    with disk_errors(home.keys):
        config = await asyncio.to_thread(device, home, node)
    factory = ProcessHsmFactory(config, start_deadline_ms=START_WITHIN_MS)
    worker = await factory.spawn(f"{node.token_name}/keys")
    try:
        made = [await _make(worker, node, label, purpose) for label, purpose in missing]
    finally:
        await worker.kill()
    with disk_errors(home.keys):
        write_file(_path(home, node.token_name), msgspec.json.encode(Inventory((*known.keys, *made))))


async def _make(worker: HsmWorker, node: Node, label: str, purpose: Purpose) -> Key:
    async with asyncio.timeout(CREATE_WITHIN_S):
        reply = await worker.call(CreateKey(label, purpose))
    if isinstance(reply, Rejected):
        raise Unavailable(f"the HSM of {node.name} does not make key {label!r}: {reply.code}")
    public = reply.data if isinstance(reply, Bytes) else b""
    return Key(label=label, owner=node.service_name, purpose=purpose, public_key=public)


def _path(home: Home, token: str) -> Path:
    return home.keys / token / "inventory.json"
