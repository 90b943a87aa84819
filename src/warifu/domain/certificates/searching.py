"""Searching the register of certificates: by what, and how a name is made comparable.

A name never stands in a column of its own. What is searched is a keyed digest of it (the key comes from JPKI's HSM):
whoever has the database alone can neither read nor try names. Two spellings that people hold for one name are one.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any, cast

from warifu.contract.authority import FoundCertificate, FoundCertificates, SearchCertificates
from warifu.contract.values import CertificateKind, CertificateState
from warifu.domain.certificates.records import Certificate
from warifu.domain.certificates.rules import UNSIGNED
from warifu.kernel.errors import Malformed
from warifu.kernel.name_forms import common_forms
from warifu.ports.store import Find


def comparable_name(name: str) -> bytes:
    """A name as it is digested: compatibility forms folded, no spaces, no case, common variants as one."""
    folded = common_forms(unicodedata.normalize("NFKC", name).casefold())
    return "".join(folded.split()).encode()


def find_of(request: SearchCertificates, name_digest: bytes) -> Find:
    """The one indexed read that answers a search.

    Raises:
        Malformed: not exactly one of resident, card, name (alone or with a municipality), municipality.
    """
    given: dict[str, Any] = {
        "resident_id": request.resident_id,
        "card_id": request.card_id,
        "name_digest": name_digest,
        "municipality": request.municipality,
    }
    where = {name: value for name, value in given.items() if value}
    if len(where) != 1 and set(where) != {"name_digest", "municipality"}:
        raise Malformed("search by resident, by card, by name, by municipality, or by name and municipality")
    after = (request.after_kind, request.after_serial) if request.after_kind else None
    return Find(Certificate, where, request.limit, after)


def found(certificates: Sequence[Certificate], limit: int) -> FoundCertificates:
    """A page as it is answered; what was never signed is left out, and counts only for where the next page starts."""
    last = certificates[-1] if len(certificates) == limit else None
    return FoundCertificates(
        certificates=tuple(_found(each) for each in certificates if each.state not in UNSIGNED),
        next_kind=cast("CertificateKind", last.ca) if last else "",
        next_serial=last.serial if last else 0,
    )


def _found(certificate: Certificate) -> FoundCertificate:
    return FoundCertificate(
        kind=cast("CertificateKind", certificate.ca),
        serial=certificate.serial,
        state=cast("CertificateState", certificate.state),
        card_id=certificate.card_id,
        resident_id=certificate.resident_id,
        municipality=certificate.municipality,
        not_after=certificate.not_after,
        reason=certificate.reason,
    )
