"""A card's static keys on their way from their owner's HSM to the factory's: never in the clear between the two.

The owner's HSM derives them and seals them to the factory HSM's public key (HPKE); the factory's HSM opens them.
"""

from typing import Final

from warifu.chip.issuer import StaticKeys
from warifu.contract.values import WrappedKeys
from warifu.kernel.errors import Fault
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.hsm import SEALED_KEYS_INFO, DecryptMessage, DeriveCardKeys, OpenMessageSession

FACTORY_KEY: Final = "factory-transport"
"""The factory HSM's key pair."""
_POINT: Final = 65
_KEY: Final = 16
_NONCE: Final = bytes(12)
"""Each encapsulation gives another key, so the nonce may be fixed."""


async def sealed_keys(hsm: HsmPool, master: str, card_id: str, factory_key: bytes, deadline_ms: int) -> WrappedKeys:
    """At the owner: derive and seal."""
    sealed = await hsm.bytes_of(DeriveCardKeys(master, card_id, factory_key), deadline_ms)
    return WrappedKeys(encapsulation=sealed[:_POINT], sealed=sealed[_POINT:])


async def opened_keys(hsm: HsmPool, keys: WrappedKeys, card_id: str, deadline_ms: int) -> StaticKeys:
    """At the factory: open, for the moment in which the blank chip is made."""
    session = keys.encapsulation[1:17]
    info = SEALED_KEYS_INFO + card_id.encode("ascii")
    await hsm.call(OpenMessageSession(FACTORY_KEY, session, keys.encapsulation, info), deadline_ms)
    plain = await hsm.bytes_of(DecryptMessage(session, _NONCE, card_id.encode("ascii"), keys.sealed), deadline_ms)
    hsm.forget_session(session)
    if len(plain) != 3 * _KEY:
        raise Fault("three keys of 16 bytes were sealed")
    return StaticKeys(enc=plain[:_KEY], mac=plain[_KEY : 2 * _KEY], dek=plain[2 * _KEY :])
