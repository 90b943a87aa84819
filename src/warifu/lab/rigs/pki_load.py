"""Orders and key pairs for loading an authority: people that never were, keys of the right form that nobody holds."""

import datetime
import random
from typing import Final

from warifu.contract.authority import BatchOrder, IssueBatch
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.values import Person
from warifu.domain.certificates.records import KeyBlock, StoredKeyPair
from warifu.kernel.ids import card_id, new_ulid
from warifu.nodes.authority.key_pool import BLOCK, Pair, encode_pairs
from warifu.ports.store import Change, Insert, Store

PLACES: Final = ("131016", "141003", "132217", "011002", "271004")
CARDS: Final = 128
"""Of one part of a batch: as many as a message may have."""
CALL_MS: Final = 120_000
_HEAD: Final = bytes.fromhex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100")
_TAIL: Final = bytes.fromhex("0203010001")
_FAMILY: Final = ("割符", "髙橋", "山田", "佐藤", "鈴木", "長谷川")
_GIVEN: Final = ("花子", "太郎", "健", "美咲", "蒼", "慎太郎")
_TOWNS: Final = (
    "東京都千代田区丸の内",
    "神奈川県横浜市中区日本大通",
    "北海道札幌市中央区北一条西",
    "大阪府大阪市北区中之島",
)


def public_key(source: random.Random) -> bytes:
    """A SubjectPublicKeyInfo like any RSA-2048 key's; to find its factors nobody needs."""
    modulus = bytearray(source.randbytes(256))
    modulus[0] |= 0x80
    modulus[-1] |= 1
    return _HEAD + bytes(modulus) + _TAIL


def person(source: random.Random, municipality: str) -> Person:
    """A resident of age."""
    address = f"{source.choice(_TOWNS)}{source.randint(1, 9)}－{source.randint(1, 40)}"
    return Person(
        name=f"{source.choice(_FAMILY)}　{source.choice(_GIVEN)}",
        birth_date=datetime.date(1940 + source.randrange(65), source.randint(1, 12), source.randint(1, 28)),
        sex=source.choice(("male", "female")),
        address=address.translate({ord(str(digit)): chr(0xFF10 + digit) for digit in range(10)}),
        municipality=municipality,
    )


def order(source: random.Random, number: int) -> BatchOrder:
    """The order for card ``number``."""
    place = source.choice(PLACES)
    return BatchOrder(
        card_id=card_id(number),
        resident_id=new_ulid(0, source.randbytes(10)),
        person=person(source, place),
        municipality=place,
        card_expires_on=datetime.date.today() + datetime.timedelta(days=3600),  # noqa: DTZ011 - any day far enough
    )


def part(batch_id: str, position: int, orders: tuple[BatchOrder, ...]) -> Envelope:
    """One part of a batch, as the authority is asked."""
    return Envelope(
        name=IssueBatch.NAME,
        operation_id=batch_id,
        step=f"part.{position}",
        sender="issuance",
        remaining_ms=CALL_MS,
        body=encode(IssueBatch(batch_id=batch_id, position=position, orders=orders)),
    )


async def stock(store: Store, source: random.Random, blocks: int) -> None:
    """Put blocks of such key pairs into the stock; what is wrapped is noise."""
    for _ in range(blocks):
        pairs = [Pair(new_ulid(1, source.randbytes(10)), public_key(source)) for _ in range(BLOCK)]
        rows = [
            StoredKeyPair(
                key_pair_id=each.key_pair_id,
                public_key=each.public_key,
                wrapped=source.randbytes(1245),
                state="stocked",
                changed_ms=1,
            )
            for each in pairs
        ]
        block = KeyBlock(block_id=new_ulid(1, source.randbytes(10)), pairs=encode_pairs(pairs))
        await store.commit(Change(now_ms=1, writes=(*(Insert(row) for row in rows), Insert(block))))
