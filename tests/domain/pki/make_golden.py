"""Writes the golden vectors beside it: ``python tests/domain/pki/make_golden.py``. Read the difference, then commit.

To-be-signed DER needs no private key, so the vectors hold none: public keys are numbers made from a seed.
"""

import sys
from pathlib import Path

from pki_testca import (
    DAY_MS,
    KIYOSE,
    NOW_MS,
    authentication_content,
    paper_key,
    responder_content,
    root_content,
    signature_content,
)

from warifu.domain.pki import ocsp
from warifu.domain.pki.names import REAL_NAMES, Kind
from warifu.domain.pki.profile import Authority, Profile, certificate_tbs
from warifu.domain.pki.revocation import crl_entry, crl_tbs

GOLDEN = Path(__file__).parent / "golden"


def golden_authority(kind: Kind, profile: Profile | None = None) -> Authority:
    return Authority(kind=kind, public_key=paper_key(kind), profile=profile or Profile())


def vectors() -> dict[str, bytes]:
    """Every vector by file name."""
    sign, auth = golden_authority("signature"), golden_authority("authentication")
    real = golden_authority("signature", Profile(naming=REAL_NAMES))
    holder, responder = paper_key("holder"), paper_key("responder")
    entries = [crl_entry(0x01000001, NOW_MS, "affiliation_changed"), crl_entry(0x01000009, NOW_MS, "unspecified")]
    until = NOW_MS + DAY_MS
    line = ocsp.CertStatus(
        cert_id=ocsp.cert_id(sign, 0x01000001),
        status=ocsp.Revoked(NOW_MS, "certificate_hold"),
        this_update_ms=NOW_MS,
        next_update_ms=until,
    )
    return {
        "root-signature.tbs": certificate_tbs(sign, root_content()),
        "root-authentication.tbs": certificate_tbs(auth, root_content()),
        "signature.tbs": certificate_tbs(sign, signature_content(public_key=holder)),
        "signature-real-names.tbs": certificate_tbs(real, signature_content(public_key=holder)),
        "authentication.tbs": certificate_tbs(auth, authentication_content(public_key=holder)),
        "responder.tbs": certificate_tbs(sign, responder_content(public_key=responder)),
        "full.crl.tbs": crl_tbs(sign, number=7, this_update_ms=NOW_MS, next_update_ms=until, entries=entries),
        "empty.crl.tbs": crl_tbs(sign, number=0, this_update_ms=NOW_MS, next_update_ms=until, entries=[]),
        "partition.crl.tbs": crl_tbs(
            sign, number=300, this_update_ms=NOW_MS, next_update_ms=until, entries=entries[:1], point=KIYOSE
        ),
        "request.ocsp": ocsp.request([line.cert_id, ocsp.cert_id(sign, 2, "sha256")], nonce=bytes(range(32))),
        "response.ocsp.tbs": ocsp.response_tbs(responder, NOW_MS, [line], nonce=bytes(range(32))),
    }


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, data in vectors().items():
        (GOLDEN / name).write_bytes(data)
    sys.stdout.write(f"wrote {len(vectors())} vectors to {GOLDEN}\n")


if __name__ == "__main__":
    main()
