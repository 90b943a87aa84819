"""Where a device is and how to log in. Only paths and names: the PIN stays in its file."""

from msgspec import Struct, field


class SoftwareConfig(Struct, frozen=True, tag="software", kw_only=True):
    """A folder of encrypted keys.

    Args:
        directory: the store; made when missing.
        pin_file: whose content (without white space at its ends) unlocks it.
    """

    directory: str
    pin_file: str


class Pkcs11Config(Struct, frozen=True, tag="pkcs11", kw_only=True):
    """A token behind a PKCS#11 module.

    Args:
        module: path of the shared library.
        token_label: the token's label.
        pin_file: whose content (without white space at its ends) is the user PIN.
        lock_file: held while a key is made, so that several workers make it once.
        environment: what the module wants to find there, e.g. ``SOFTHSM2_CONF``.
    """

    module: str
    token_label: str
    pin_file: str
    lock_file: str
    environment: dict[str, str] = field(default_factory=dict)


HsmConfig = SoftwareConfig | Pkcs11Config
