"""The same certificates and lists, written by the builders of ``cryptography``: an independent writer to compare with.

The subject public key of the twin is the order's; the signature is made with any key and ignored.
"""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from pki_testca import DAY_MS, NOW_MS, key

from warifu.domain.pki.names import Point
from warifu.domain.pki.profile import (
    AuthenticationContent,
    Authority,
    Content,
    ResponderContent,
    RootContent,
    SignatureContent,
)

C, L, O, OU, CN = (  # noqa: E741 - the names X.500 gives them
    NameOID.COUNTRY_NAME,
    NameOID.LOCALITY_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.COMMON_NAME,
)


def name(*attributes: tuple[ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in attributes])


def unit(by: Authority) -> str:
    return "Warifu Test for " + ("digital signature" if by.kind == "signature" else "user authentication")


def authority_name(by: Authority) -> x509.Name:
    operator = "Synthetic data - not a real authority"
    return name((C, "JP"), (O, "Warifu Test"), (OU, unit(by)), (OU, operator))


def native_name(by: Authority) -> x509.GeneralName:
    native = "割符試験認証サービス"
    kind = "署名用" if by.kind == "signature" else "利用者証明用"
    operator = "合成データ専用（実在の認証局ではありません）"
    return x509.DirectoryName(name((C, "JP"), (O, native), (OU, native + kind), (OU, operator)))


def point_name(by: Authority, point: Point) -> x509.GeneralName:
    return x509.DirectoryName(
        name(
            (C, "JP"),
            (O, "Warifu Test"),
            (OU, unit(by)),
            (OU, "CRL Distribution Points"),
            (OU, point.prefecture),
            (CN, point.municipality + " CRLDP"),
        )
    )


def load(public_key: bytes) -> RSAPublicKey:
    loaded = serialization.load_der_public_key(public_key)
    assert isinstance(loaded, RSAPublicKey)
    return loaded


def usage(*names: str) -> tuple[x509.ExtensionType, bool]:
    fields = [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ]
    return x509.KeyUsage(**{field: field in names for field in fields}), True


def utf8(text: str) -> bytes:
    octets = text.encode()
    assert len(octets) < 128
    return bytes((12, len(octets))) + octets


def subscriber_tail(
    by: Authority, policy: str, point: Point, public_key: bytes
) -> list[tuple[x509.ExtensionType, bool]]:
    information = x509.PolicyInformation(ObjectIdentifier(policy), ["http://warifu.example/cps.html"])
    distribution = x509.DistributionPoint([point_name(by, point)], None, None, None)
    return [
        (x509.CertificatePolicies([information]), True),
        (x509.IssuerAlternativeName([native_name(by)]), False),
        (x509.CRLDistributionPoints([distribution]), False),
        *key_ids(by, public_key),
    ]


def key_ids(by: Authority, public_key: bytes) -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(load(by.public_key)), False),
        (x509.SubjectKeyIdentifier.from_public_key(load(public_key)), False),
    ]


def signature_parts(
    by: Authority, content: SignatureContent
) -> tuple[x509.Name, list[tuple[x509.ExtensionType, bool]]]:
    values = {
        1: "黒桐　幹也",
        4: "319800217",
        3: "1",
        5: "東京都清瀬市観布子南１２－７－２０２",
        2: "00000",
        6: "0" * 18,
    }
    names = [
        x509.OtherName(ObjectIdentifier(f"1.3.6.1.4.1.32473.8.5.5.{number}"), utf8(text))
        for number, text in values.items()
    ]
    extensions = [
        usage("digital_signature", "content_commitment"),
        (x509.SubjectAlternativeName(names), False),
        *subscriber_tail(by, "1.3.6.1.4.1.32473.8.5.1.1.20", content.subscriber.point, content.public_key),
    ]
    subject = name((C, "JP"), (L, "Tokyo-to"), (L, "Kiyose-shi"), (CN, "2025102711000013221003A"))
    return subject, extensions


def authentication_parts(
    by: Authority, content: AuthenticationContent
) -> tuple[x509.Name, list[tuple[x509.ExtensionType, bool]]]:
    tail = subscriber_tail(by, "1.3.6.1.4.1.32473.8.5.1.3.30", content.point, content.public_key)
    return name((C, "JP"), (CN, content.common_name)), [usage("digital_signature"), *tail]


def root_parts(by: Authority) -> tuple[x509.Name, list[tuple[x509.ExtensionType, bool]]]:
    own = x509.DirectoryName(authority_name(by))
    return authority_name(by), [
        usage("key_cert_sign", "crl_sign"),
        (x509.SubjectAlternativeName([native_name(by)]), False),
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.CRLDistributionPoints([x509.DistributionPoint([own], None, None, None)]), False),
        (x509.SubjectKeyIdentifier.from_public_key(load(by.public_key)), False),
    ]


def responder_parts(
    by: Authority, content: ResponderContent
) -> tuple[x509.Name, list[tuple[x509.ExtensionType, bool]]]:
    subject = name((C, "JP"), (O, "Warifu Test"), (OU, unit(by)), (CN, content.common_name))
    return subject, [
        usage("digital_signature"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False),
        (x509.OCSPNoCheck(), False),
        *key_ids(by, content.public_key),
    ]


def certificate_like(by: Authority, content: Content) -> x509.Certificate:
    if isinstance(content, RootContent):
        subject, extensions = root_parts(by)
        public_key = by.public_key
    else:
        public_key = content.public_key
        if isinstance(content, SignatureContent):
            subject, extensions = signature_parts(by, content)
        elif isinstance(content, AuthenticationContent):
            subject, extensions = authentication_parts(by, content)
        else:
            subject, extensions = responder_parts(by, content)
    builder = x509.CertificateBuilder(
        issuer_name=authority_name(by),
        subject_name=subject,
        public_key=load(public_key),
        serial_number=content.serial,
        not_valid_before=datetime.fromtimestamp(content.validity.not_before_ms / 1000, UTC),
        not_valid_after=datetime.fromtimestamp(content.validity.not_after_ms / 1000, UTC),
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(key("any"), hashes.SHA256())


def list_like(
    by: Authority, number: int, serials: tuple[int, ...], point: Point | None
) -> x509.CertificateRevocationList:
    now = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    entry = x509.RevokedCertificateBuilder().revocation_date(now)
    entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.superseded), critical=False)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=authority_name(by),
        last_update=now,
        next_update=datetime.fromtimestamp((NOW_MS + DAY_MS) / 1000, UTC),
        revoked_certificates=[entry.serial_number(serial).build() for serial in serials],
    )
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(load(by.public_key)), critical=False
    )
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if point:
        scope = x509.IssuingDistributionPoint(
            full_name=[point_name(by, point)],
            relative_name=None,
            only_contains_user_certs=False,
            only_contains_ca_certs=False,
            only_some_reasons=None,
            indirect_crl=False,
            only_contains_attribute_certs=False,
        )
        builder = builder.add_extension(scope, critical=True)
    return builder.sign(key("any"), hashes.SHA256())
