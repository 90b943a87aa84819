"""The operating system's randomness."""

import secrets


class SystemEntropy:
    """Implements ``ports.entropy.Entropy``."""

    def random_bytes(self, count: int) -> bytes:
        """``count`` unpredictable bytes."""
        return secrets.token_bytes(count)
