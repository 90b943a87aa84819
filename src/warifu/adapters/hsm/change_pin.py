"""``python -m warifu.adapters.hsm.change_pin``: gives a token a new user PIN, read with the old one from stdin."""

import sys

import msgspec
from msgspec import Struct

from warifu.adapters.hsm.config import Pkcs11Config


class PinChange(Struct, frozen=True, kw_only=True):
    """Which token, its PIN, and the one it shall have."""

    config: Pkcs11Config
    old: str
    new: str

    def __repr__(self) -> str:
        """Without the PINs."""
        return f"PinChange({self.config.token_label})"


def change_pin(order: PinChange) -> None:
    """Do it. The module's environment must be set already."""
    import pkcs11  # noqa: PLC0415 - the caller, who only wants PinChange, must not load the library

    token = pkcs11.lib(order.config.module).get_token(token_label=order.config.token_label)
    with token.open(user_pin=order.old, rw=True) as session:
        session.set_pin(order.old, order.new)


if __name__ == "__main__":
    change_pin(msgspec.json.decode(sys.stdin.buffer.read(), type=PinChange))
