"""A token behind PKCS#11, SoftHSM2 for instance: one session, one process, no threads.

Stored keys are generated in the token, sensitive and never extractable. A key's label is CKA_LABEL; its purpose stands
in CKA_ID, and its usage attributes allow nothing else. What passes through this process all the same is said in
``docs/decisions/0007-hsm.md``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pkcs11
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import GeneralError, PKCS11Error
from pkcs11.util.ec import encode_named_curve_parameters

from warifu.adapters import hpke
from warifu.adapters.crypto import public_bytes
from warifu.adapters.hsm.config import Pkcs11Config
from warifu.adapters.hsm.device import KEY_BYTES, KeyUse, exclusive, read_pin
from warifu.adapters.hsm.errors import DeviceFailed, Rejection, rejected
from warifu.ports.hsm import Purpose

_RSA_BITS: Final = 2048
_P256: Final = encode_named_curve_parameters("secp256r1")
_SECRET_USES: Final[dict[KeyUse, MechanismFlag]] = {
    "wrap": MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
    "message": MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
    "mac": MechanismFlag.SIGN,
    "card-master": MechanismFlag.SIGN,
}
_HIDDEN: Final[dict[Attribute, Any]] = {
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.PRIVATE: True,
}
_PROBE_DATA: Final = b"probe"


class Pkcs11Device:
    """Implements ``Device`` over one session.

    Raises:
        DeviceFailed: no module, no token, no PIN, or a wrong one.
    """

    def __init__(self, config: Pkcs11Config) -> None:
        os.environ.update(config.environment)
        self._lock = Path(config.lock_file)
        self._found: dict[str, tuple[Purpose, Any]] = {}
        pin = read_pin(config.pin_file)
        with _device_failures():
            token = pkcs11.lib(config.module).get_token(token_label=config.token_label)
            self._session: Any = token.open(user_pin=pin, rw=True)
            self._probe = self.import_key("message", os.urandom(KEY_BYTES["message"]))

    def create(self, label: str, purpose: Purpose) -> None:
        """Make the key unless it is there."""
        with _device_failures(), exclusive(self._lock):
            if self._secret_half(label) is None:
                self._remove_fragments(label)
                self._generate(label, purpose)
        self.find(label, purpose)

    def find(self, label: str, purpose: Purpose) -> Any:  # noqa: ANN401 - the library's own class of the key
        """The key of this name."""
        if label not in self._found:
            self._found[label] = self._look_up(label)
        found_purpose, key = self._found[label]
        if found_purpose != purpose:
            raise rejected("the key is for another purpose")
        return key

    def public_key(self, label: str) -> bytes:
        """SubjectPublicKeyInfo DER."""
        with _device_failures():
            halves = list(self._objects(label, ObjectClass.PUBLIC_KEY))
            if len(halves) == 1:
                return _spki(halves[0])
            if self._secret_half(label) is None:
                raise Rejection("hsm.no_such_key", "no key of this name")
        raise rejected("the key has no public half")

    def import_key(self, use: KeyUse, material: bytes) -> Any:  # noqa: ANN401 - likewise
        """A key for this worker's life: a session object."""
        with _device_failures():
            return self._session.create_object(_template(use, material))

    def forget(self, key: Any) -> None:  # noqa: ANN401 - likewise
        """Destroy a session object."""
        with _device_failures():
            key.destroy()

    def random(self, count: int) -> bytes:
        """``count`` bytes of the token's randomness."""
        with _device_failures():
            data: bytes = self._session.generate_random(8 * count)
        return data

    def sign(self, key: Any, data: bytes) -> bytes:  # noqa: ANN401 - likewise
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        with _device_failures():
            return bytes(key.sign(data, mechanism=Mechanism.SHA256_RSA_PKCS))

    def sign_digest_info(self, key: Any, data: bytes) -> bytes:  # noqa: ANN401 - likewise
        """PKCS#1 v1.5 over ``data`` as it is."""
        with _device_failures():
            return bytes(key.sign(data, mechanism=Mechanism.RSA_PKCS))

    def mac(self, key: Any, data: bytes) -> bytes:  # noqa: ANN401 - likewise
        """AES-CMAC."""
        with _device_failures():
            return bytes(key.sign(data, mechanism=Mechanism.AES_CMAC))

    def agree(self, key: Any, point: bytes) -> bytes:  # noqa: ANN401 - likewise
        """ECDH on P-256; the derived secret is read once and destroyed."""
        with _device_failures():
            secret = key.derive_key(
                KeyType.GENERIC_SECRET,
                256,
                mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(pkcs11.KDF.NULL, None, point),
                template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
            )
            shared = bytes(secret[Attribute.VALUE])
            secret.destroy()
        return shared.rjust(32, b"\x00")

    def seal(self, key: Any, nonce: bytes, context: bytes, data: bytes) -> bytes:  # noqa: ANN401 - likewise
        """AES-256-GCM."""
        with _device_failures():
            return _encrypt(key, nonce, context, data)

    def unseal(self, key: Any, nonce: bytes, context: bytes, data: bytes) -> bytes:  # noqa: ANN401 - likewise
        """The inverse.

        SoftHSM answers changed data with CKR_GENERAL_ERROR, as it answers anything it cannot do. Whether the data or
        the device is at fault is decided by an operation that must succeed.
        """
        parameters = pkcs11.GCMParams(nonce, context, 128)
        with _device_failures():
            try:
                return bytes(key.decrypt(data, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))
            except (GeneralError, pkcs11.exceptions.EncryptedDataInvalid):
                self._prove_encryption()
        raise rejected("the data were changed")

    def close(self) -> None:
        """Log out."""
        with _device_failures():
            self._session.close()

    def _prove_encryption(self) -> None:
        nonce = self.random(12)
        sealed = _encrypt(self._probe, nonce, b"", _PROBE_DATA)
        parameters = pkcs11.GCMParams(nonce, b"", 128)
        if self._probe.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=parameters) != _PROBE_DATA:
            raise DeviceFailed("decryption gives something else")

    def _objects(self, label: str, kind: ObjectClass) -> Iterator[Any]:
        wanted = {Attribute.LABEL: label, Attribute.CLASS: kind, Attribute.TOKEN: True}
        return iter(list(self._session.get_objects(wanted)))

    def _secret_half(self, label: str) -> Any:  # noqa: ANN401 - likewise
        """The object that does the work: the private key of a pair, or the secret key. None when there is none."""
        found = [*self._objects(label, ObjectClass.PRIVATE_KEY), *self._objects(label, ObjectClass.SECRET_KEY)]
        if len(found) > 1:
            raise DeviceFailed("two keys of one name")
        return found[0] if found else None

    def _look_up(self, label: str) -> tuple[Purpose, Any]:
        with _device_failures():
            key = self._secret_half(label)
            if key is None:
                raise Rejection("hsm.no_such_key", "no key of this name")
            purpose = _purpose(key[Attribute.ID])
            return purpose, self._at_hand(purpose, key)

    def _at_hand(self, purpose: Purpose, key: Any) -> Any:  # noqa: ANN401 - likewise
        """A copy in the session of a key that is used for every card write.

        SoftHSM looks at a stored object's file at each use; of a session's object it has no file. The copy stays as
        hidden as the key (PKCS#11 lets neither attribute be weakened by copying) and ends with the session. A token
        that copies nothing works with the stored key.
        """
        if purpose != "card-master":
            return key
        try:
            return key.copy({Attribute.TOKEN: False})
        except PKCS11Error:
            return key

    def _remove_fragments(self, label: str) -> None:
        """A worker killed inside C_GenerateKeyPair leaves the public half alone: nobody can have used it."""
        for half in self._objects(label, ObjectClass.PUBLIC_KEY):
            half.destroy()

    def _generate(self, label: str, purpose: Purpose) -> None:
        names: dict[str, Any] = {"label": label, "id": purpose.encode("ascii"), "store": True}
        if purpose == "sign":
            uses = MechanismFlag.SIGN | MechanismFlag.VERIFY
            names |= {"capabilities": uses, "private_template": _HIDDEN}
            self._session.generate_keypair(KeyType.RSA, _RSA_BITS, **names)
        elif purpose == "agree":
            names |= {"capabilities": MechanismFlag.DERIVE, "private_template": _HIDDEN}
            curve = self._session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: _P256}, local=True)
            curve.generate_keypair(**names)
        else:
            names |= {"capabilities": _SECRET_USES[purpose], "template": _HIDDEN}
            self._session.generate_key(KeyType.AES, 8 * KEY_BYTES[purpose], **names)


def _encrypt(key: Any, nonce: bytes, context: bytes, data: bytes) -> bytes:  # noqa: ANN401 - likewise
    parameters = pkcs11.GCMParams(nonce, context, 128)
    return bytes(key.encrypt(data, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))


@contextmanager
def _device_failures() -> Iterator[None]:
    """Render what the library raises. Its class is the return value's name and holds no data."""
    try:
        yield
    except PKCS11Error as error:
        raise DeviceFailed(f"PKCS#11: {type(error).__name__}") from None


def _purpose(identifier: bytes) -> Purpose:
    purposes: tuple[Purpose, ...] = ("sign", "agree", "wrap", "mac", "card-master")
    for purpose in purposes:
        if identifier == purpose.encode("ascii"):
            return purpose
    raise rejected("the key was not made by this program")


def _spki(half: Any) -> bytes:  # noqa: ANN401 - likewise
    if half.key_type == KeyType.RSA:
        exponent = int.from_bytes(half[Attribute.PUBLIC_EXPONENT], "big")
        modulus = int.from_bytes(half[Attribute.MODULUS], "big")
        return public_bytes(rsa.RSAPublicNumbers(exponent, modulus).public_key())
    # CKA_EC_POINT is an OCTET STRING around the point: two bytes of tag and length for P-256.
    return public_bytes(hpke.parse_point(half[Attribute.EC_POINT][2:]))


def _template(use: KeyUse, material: bytes) -> dict[Attribute, Any]:
    """A session object's attributes."""
    if use in _SECRET_USES:
        flags = _SECRET_USES[use]
        encrypts, signs = bool(flags & MechanismFlag.ENCRYPT), bool(flags & MechanismFlag.SIGN)
        return {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.VALUE: material,
            Attribute.TOKEN: False,
            Attribute.ENCRYPT: encrypts,
            Attribute.DECRYPT: encrypts,
            Attribute.SIGN: signs,
        } | _HIDDEN
    pair = serialization.load_der_private_key(material, password=None)
    common = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.TOKEN: False} | _HIDDEN
    if isinstance(pair, rsa.RSAPrivateKey):
        return common | _rsa_attributes(pair.private_numbers())
    if isinstance(pair, ec.EllipticCurvePrivateKey):
        return common | _ec_attributes(pair.private_numbers())
    raise DeviceFailed("a key is of the wrong kind")


def _rsa_attributes(numbers: rsa.RSAPrivateNumbers) -> dict[Attribute, Any]:
    values = {
        Attribute.MODULUS: numbers.public_numbers.n,
        Attribute.PUBLIC_EXPONENT: numbers.public_numbers.e,
        Attribute.PRIVATE_EXPONENT: numbers.d,
        Attribute.PRIME_1: numbers.p,
        Attribute.PRIME_2: numbers.q,
        Attribute.EXPONENT_1: numbers.dmp1,
        Attribute.EXPONENT_2: numbers.dmq1,
        Attribute.COEFFICIENT: numbers.iqmp,
    }
    encoded = {name: value.to_bytes((value.bit_length() + 7) // 8, "big") for name, value in values.items()}
    return {Attribute.KEY_TYPE: KeyType.RSA, Attribute.SIGN: True} | encoded


def _ec_attributes(numbers: ec.EllipticCurvePrivateNumbers) -> dict[Attribute, Any]:
    return {
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.DERIVE: True,
        Attribute.EC_PARAMS: _P256,
        Attribute.VALUE: numbers.private_value.to_bytes(32, "big"),
    }
