"""Known answers: one operation of each kind, with keys that are published here and protect nothing.

Sources: AES-CMAC from RFC 4493 (section 4, example 2) and NIST SP 800-38B (D.3, example 2); AES-256-GCM from the GCM
submission to NIST (test case 16); the agreement from RFC 9180 (A.3.1). The RSA pair is our own, made for this test.
"""

import hmac
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Final, Generic

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from warifu.adapters import hpke
from warifu.adapters.crypto import private_bytes
from warifu.adapters.hsm.device import Device, Key, KeyUse
from warifu.adapters.hsm.errors import DeviceFailed, Rejection

_CMAC_DATA: Final = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
_CMAC_128_KEY: Final = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
_CMAC_128: Final = bytes.fromhex("070a16b46b4d4144f79bdd9dd04a287c")
_CMAC_256_KEY: Final = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
_CMAC_256: Final = bytes.fromhex("28a7023f452e8f82bd4bf28d8c37c35c")
_GCM_KEY: Final = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
_GCM_NONCE: Final = bytes.fromhex("cafebabefacedbaddecaf888")
_GCM_CONTEXT: Final = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
_GCM_DATA: Final = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
    "ba637b39"
)
_GCM_SEALED: Final = bytes.fromhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
    "bcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
)
_AGREE_KEY: Final = 0xF3CE7FDAE57E1A310D87F1EBBDE6F328BE0A99CDBCADF4D6589CF29DE4B8FFD2
_AGREE_POINT: Final = bytes.fromhex(
    "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9b"
    "fcb9382657222d18c4"
)
_AGREE_SECRET: Final = bytes.fromhex("c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8")
_RSA_P: Final = int(
    "e4d5246645f81d2a48503a5b73bc53fc8c496f2e5cf529216c6265edacf3f34127440f125d74963e509ef477028501088fce"
    "c0a51f04bb783b54ad7684d797b8a1620b2cdee7d484568f04e98f46646a287a45702f3b4c08f31c6be494533b3bdf63539d"
    "a644eb5f31d6c87d5d06e594e2a1f179cb0d12e4b871d08d905c0bc3",
    16,
)
_RSA_Q: Final = int(
    "bc5e711f678500f6b90f4c91edc85073acade8e94c8e50a3fa825267e04980f157dbf208346304b358c34536fecfdf74bef5"
    "04a208974ae8b0ca8c2df6c92a1efbf1c902b1e7a3945ea89ccb41cd9f1e34ae669521256c03a537c9115a56a8ad57794b97"
    "409c71ceff581102b5094f954a1baeedbbadb4319e77b2400a7fd88b",
    16,
)
_SHA256_PREFIX: Final = bytes.fromhex("3031300d060960864801650304020105000420")
"""DigestInfo up to the digest (RFC 8017, section 9.2, note 1)."""
_SIGN_DATA: Final = b"warifu hsm self-test"
_SIGN_DIGEST: Final = bytes.fromhex("6285185a30a5ad2f566b35b01479324d789e8dd579b328debf62959e47db5fd2")


class KnownAnswers(Generic[Key]):
    """The test keys of one device, loaded at their first use, and what they must answer."""

    def __init__(self, device: Device[Key]) -> None:
        self._device = device
        self._keys: dict[KeyUse, Key] = {}

    def prove(self) -> None:
        """Do one operation of each kind.

        Raises:
            DeviceFailed: an answer was not the known one.
        """
        try:
            self._random()
            self._macs()
            self._encryption()
            self._changed_data()
            self._agreement()
            self._signature()
        except Rejection:
            raise DeviceFailed("self-test: refused") from None

    def _key(self, use: KeyUse) -> Key:
        if use not in self._keys:
            self._keys[use] = self._device.import_key(use, _MATERIAL[use]())
        return self._keys[use]

    def _random(self) -> None:
        one, other = self._device.random(16), self._device.random(16)
        if one == other or len(one) != len(other):
            raise DeviceFailed("self-test: random")

    def _macs(self) -> None:
        _expect("mac 128", self._device.mac(self._key("card-master"), _CMAC_DATA), _CMAC_128)
        _expect("mac 256", self._device.mac(self._key("mac"), _CMAC_DATA), _CMAC_256)

    def _encryption(self) -> None:
        key = self._key("message")
        _expect("seal", self._device.seal(key, _GCM_NONCE, _GCM_CONTEXT, _GCM_DATA), _GCM_SEALED)
        _expect("unseal", self._device.unseal(key, _GCM_NONCE, _GCM_CONTEXT, _GCM_SEALED), _GCM_DATA)

    def _changed_data(self) -> None:
        """A device that takes changed data for good is as broken as one that answers nothing."""
        changed = _GCM_SEALED[:-1] + bytes([_GCM_SEALED[-1] ^ 1])
        try:
            self._device.unseal(self._key("message"), _GCM_NONCE, _GCM_CONTEXT, changed)
        except Rejection:
            return
        raise DeviceFailed("self-test: changed data were accepted")

    def _agreement(self) -> None:
        key = self._key("agree")
        secret = hpke.recipient_secret(lambda point: self._device.agree(key, point), _AGREE_POINT, _agree_own_point())
        _expect("agree", secret, _AGREE_SECRET)

    def _signature(self) -> None:
        signature = self._device.sign(self._key("sign"), _SIGN_DATA)
        _expect("sign", sha256(signature).digest(), _SIGN_DIGEST)
        digest_info = _SHA256_PREFIX + sha256(_SIGN_DATA).digest()
        _expect("sign digest", self._device.sign_digest_info(self._key("sign"), digest_info), signature)


def _expect(kind: str, answer: bytes, known: bytes) -> None:
    if not hmac.compare_digest(answer, known):
        raise DeviceFailed(f"self-test: {kind}")


def _agree_pair() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(_AGREE_KEY, ec.SECP256R1())


@cache
def _agree_own_point() -> bytes:
    return hpke.encode_point(_agree_pair().public_key())


def _signature_pair() -> rsa.RSAPrivateKey:
    exponent = 65537
    private = rsa.rsa_recover_private_exponent(exponent, _RSA_P, _RSA_Q)
    numbers = rsa.RSAPrivateNumbers(
        p=_RSA_P,
        q=_RSA_Q,
        d=private,
        dmp1=rsa.rsa_crt_dmp1(private, _RSA_P),
        dmq1=rsa.rsa_crt_dmq1(private, _RSA_Q),
        iqmp=rsa.rsa_crt_iqmp(_RSA_P, _RSA_Q),
        public_numbers=rsa.RSAPublicNumbers(exponent, _RSA_P * _RSA_Q),
    )
    return numbers.private_key()


_MATERIAL: Final[dict[KeyUse, Callable[[], bytes]]] = {
    "card-master": lambda: _CMAC_128_KEY,
    "mac": lambda: _CMAC_256_KEY,
    "message": lambda: _GCM_KEY,
    "agree": lambda: private_bytes(_agree_pair()),
    "sign": lambda: private_bytes(_signature_pair()),
}
