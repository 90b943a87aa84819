"""Time, randomness and keys of the simulation: all follow from the seed.

P-256 keys are derived from the seeded entropy. RSA-2048 keys would each take 80 ms, a third of a search; instead any
two of a file's primes make one: 48 primes make 1,128 different keys, so that "a key pair is used once" stays a property
one can check. The primes were found from the text in ``simulation.primes`` and are good for nothing else: keys that
share primes are broken by a greatest common divisor.
"""

from functools import cache
from importlib.resources import files
from math import isqrt
from random import Random
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from warifu.adapters.crypto import agree_with, private_bytes, public_bytes
from warifu.kernel.errors import Fault
from warifu.ports.crypto import KeyKind, KeyPair, SharedKey

if TYPE_CHECKING:
    from warifu.lab.simulation.loop import SimulatedLoop

EPOCH_MS = 1_775_000_400_000
"""Every run begins on 2026-04-01 08:40 in Japan."""
PUBLIC_EXPONENT = 65537
NOT_DEALT = 1_127
"""The last of the fixture keys: no run deals so many."""
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class SimulatedClock:
    """A node's wall clock: the loop's time, set wrong by ``skew_ms``."""

    def __init__(self, loop: "SimulatedLoop") -> None:
        self._loop = loop
        self.skew_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, as this node believes."""
        return EPOCH_MS + self._loop.now_ms + self.skew_ms


class SeededEntropy:
    """Random bytes for one purpose (a node's incarnation): one user's draws do not shift another's."""

    def __init__(self, seed: int, purpose: str) -> None:
        self._random = Random(f"{seed}/entropy/{purpose}")  # noqa: S311 - repeatable on purpose

    def random_bytes(self, count: int) -> bytes:
        """``count`` bytes."""
        return self._random.randbytes(count)


class FixtureCrypto:
    """Key pairs that follow from the seed; RSA keys are dealt out in order and never twice."""

    def __init__(self, entropy: SeededEntropy, deal: "Deal") -> None:
        self._entropy = entropy
        self._deal = deal

    async def generate_key_pair(self, kind: KeyKind) -> KeyPair:
        """A key pair no one else in this run has."""
        return fixture_rsa(self._deal.next()) if kind == "rsa-2048" else _pair(self._p256())

    def agree(self, recipient: bytes, info: bytes) -> SharedKey:
        """As ``ports.crypto.Crypto.agree``, with an ephemeral key from the seed."""
        return agree_with(self._p256(), recipient, info)

    def _p256(self) -> ec.EllipticCurvePrivateKey:
        return derive_p256(self._entropy.random_bytes(40))


def derive_p256(seed: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 key that follows from these bytes."""
    return ec.derive_private_key(1 + int.from_bytes(seed, "big") % (P256_ORDER - 1), ec.SECP256R1())


class Deal:
    """The next RSA key's number; one for all nodes of a run.

    Args:
        dealt: how many were dealt before the run began.
    """

    def __init__(self, dealt: int = 0) -> None:
        self._dealt = dealt

    @property
    def dealt(self) -> int:
        """How many were dealt."""
        return self._dealt

    def next(self) -> int:
        """0, 1, 2 ..."""
        self._dealt += 1
        return self._dealt - 1


@cache
def fixture_rsa(number: int) -> KeyPair:
    """The RSA-2048 key of this number, always the same.

    Raises:
        Fault: the primes make fewer keys.
    """
    primes = _primes()
    larger = (1 + isqrt(1 + 8 * number)) // 2
    smaller = number - larger * (larger - 1) // 2
    if larger >= len(primes):
        raise Fault(f"{len(primes)} fixture primes make no RSA key number {number}")
    return _pair(_rsa_from(primes[larger], primes[smaller]))


@cache
def _primes() -> tuple[int, ...]:
    text = files("warifu.lab.simulation").joinpath("fixture_primes.txt").read_text("ascii")
    return tuple(int(line, 16) for line in text.splitlines() if not line.startswith("#"))


def _rsa_from(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(PUBLIC_EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(PUBLIC_EXPONENT, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _pair(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(private_key=private_bytes(key), public_key=public_bytes(key.public_key()))
