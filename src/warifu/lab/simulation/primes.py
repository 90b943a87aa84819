"""How ``fixture_primes.txt`` was made: ``python -m warifu.lab.simulation.primes > fixture_primes.txt``.

Prime ``i`` is the first probable prime from SHAKE-256 of a text with its number, the two highest bits and the lowest
one set, upwards, that is not 1 modulo 65537. Anyone can make them again: there is nothing up the sleeve.
"""

import sys
from hashlib import shake_256

COUNT = 48
BYTES = 128
HEADER = "# Primes for the laboratory's RSA keys. Public, shared between keys, good for tests only. See primes.py."
_SMALL = [number for number in range(3, 4000) if all(number % divisor for divisor in range(2, int(number**0.5) + 1))]


def start(number: int) -> int:
    """Where the search for prime ``number`` begins."""
    digest = shake_256(b"warifu laboratory prime %d" % number).digest(BYTES)
    return int.from_bytes(digest, "big") | (3 << 1022) | 1


def fits(candidate: int) -> bool:
    """Whether it passes (Fermat to three bases: ample for numbers nobody chose)."""
    return (
        all(candidate % small for small in _SMALL)
        and candidate % 65537 != 1
        and all(pow(base, candidate - 1, candidate) == 1 for base in (2, 3, 5))
    )


def prime(number: int) -> int:
    """Prime ``number``."""
    candidate = start(number)
    while not fits(candidate):
        candidate += 2
    return candidate


if __name__ == "__main__":
    sys.stdout.write(HEADER + "\n" + "".join(f"{prime(number):0256x}\n" for number in range(COUNT)))
