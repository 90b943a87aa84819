"""RSA keys for chips, made ahead: a chip needs four, and each takes 80 ms of a core."""

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Final

from warifu.chip.personalise import ChipKeys
from warifu.ports.crypto import Crypto, KeyPair

_PER_CHIP: Final = 4


class KeyStock:
    """Keeps ``ahead`` chips' worth of keys in making; ``take`` waits only when more are taken than are made.

    Args:
        crypto: makes the key pairs.
        ahead: for how many chips keys are kept.
    """

    def __init__(self, crypto: Crypto, ahead: int = 2) -> None:
        self._crypto = crypto
        self._target = ahead * _PER_CHIP
        self._made: deque[asyncio.Task[KeyPair]] = deque()

    def fill(self) -> None:
        """Begin to make what is missing; needs a running loop."""
        while len(self._made) < self._target:
            self._made.append(asyncio.ensure_future(self._crypto.generate_key_pair("rsa-2048")))

    async def take(self) -> ChipKeys:
        """The keys of one chip, each used once."""
        mine: list[Awaitable[KeyPair]] = []
        while len(mine) < _PER_CHIP:
            mine.append(self._made.popleft() if self._made else self._crypto.generate_key_pair("rsa-2048"))
        self.fill()
        internal, text, face, session = await asyncio.gather(*mine)
        return ChipKeys(internal.private_key, text.private_key, face.private_key, session.private_key)

    async def close(self) -> None:
        """Let go of what nobody took."""
        for task in self._made:
            task.cancel()
        await asyncio.gather(*self._made, return_exceptions=True)
        self._made.clear()
