"""The stock of key pairs, counted again: each is free, in one block, or used for one certificate; never two of these.

What is looked at is what stands in the register at an instant; whoever changed it last.
"""

from collections import Counter

from warifu.adapters.store.memory import MemoryStore
from warifu.domain.certificates.records import Certificate, KeyBlock, KeyUse, StoredKeyPair
from warifu.nodes.authority import key_pool
from warifu.nodes.authority.key_pool import decode_pairs

LOST, TWICE = "no key pair is lost", "a key pair and a serial are used once"
UNUSED = frozenset({"free", "stocked"})
Finding = tuple[str, str]
"""A property, and how it failed."""


def found_wrong(register: MemoryStore) -> Finding | None:
    """The first thing that is wrong with the stock."""
    pairs = {row.key_pair_id: row for row in register.records(StoredKeyPair) if isinstance(row, StoredKeyPair)}
    in_blocks = Counter[str]()
    for block in register.records(KeyBlock):
        for pair in decode_pairs(block.pairs) if isinstance(block, KeyBlock) else ():
            in_blocks[pair.key_pair_id] += 1
            row = pairs.get(pair.key_pair_id)
            if row is None or row.state != "stocked" or row.public_key != pair.public_key:
                return LOST, f"{pair.key_pair_id} of a block is {row.state if row else 'nowhere'}"
    used = {row.key_pair_id for row in register.records(KeyUse) if isinstance(row, KeyUse)}
    for key, row in pairs.items():
        places = in_blocks[key] + (key in used) + (row.state == "free")
        if places > 1:
            return TWICE, f"{key} is {row.state}, in {in_blocks[key]} blocks, and used: {key in used}"
        if not places:
            return LOST, f"{key} is {row.state}, in no block, and not used"
        if row.state in UNUSED and key not in used and row.wrapped is None:
            return LOST, f"{key} is {row.state}, and destroyed"
    strangers = used - set(pairs)
    return (LOST, f"{min(strangers)} was used and is nowhere") if strangers else None


def found_strange(register: MemoryStore) -> Finding | None:
    """The first certificate that is of another key than the one that was used for it."""
    pairs = {row.key_pair_id: row for row in register.records(StoredKeyPair) if isinstance(row, StoredKeyPair)}
    used = {(row.ca, row.serial): row.key_pair_id for row in register.records(KeyUse) if isinstance(row, KeyUse)}
    for row in register.records(Certificate):
        if not isinstance(row, Certificate):
            continue
        pair = pairs.get(row.key_pair_id)
        if pair is None or used.get((row.ca, row.serial)) != row.key_pair_id:
            return TWICE, f"{row.ca} {row.serial}: the use of {row.key_pair_id} is not logged"
        if pair.public_key not in (row.der or row.tbs):
            return "a certificate is of its key pair", f"{row.ca} {row.serial} is of another than {row.key_pair_id}"
    return None


def is_full(register: MemoryStore, target: int) -> bool:
    """Whether what is kept ready is: single pairs up to so many, what is beyond them in blocks."""
    free = sum(isinstance(row, StoredKeyPair) and row.state == "free" for row in register.records(StoredKeyPair))
    blocks = len(register.records(KeyBlock))
    return free >= min(target, key_pool.SINGLES) and blocks >= max(0, target - key_pool.SINGLES) // key_pool.BLOCK
