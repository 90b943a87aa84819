"""Key ceremonies: nothing happens to an authority's key unless two of its holders have approved just that.

An approval is an Ed25519 signature over a statement that names the act and all its particulars; it is good for nothing
else, and for this only once, since a generation's number is given out once.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from warifu.contract.authority import HolderApproval
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.errors import DualControl
from warifu.domain.certificates.records import KeyHolder

HOLDERS: Final = 2
"""So many must approve."""


def generation_statement(ca: CertificateKind, generation: int, active_from_ms: int) -> bytes:
    """What holders sign to have a new generation made."""
    text = f"warifu key ceremony\nauthority: {ca}\ngeneration: {generation}\nactive from: {_instant(active_from_ms)}\n"
    return text.encode()


def enrolment_statement(holder: str, public_key: bytes) -> bytes:
    """What two holders sign to have a further one enrolled."""
    return f"warifu key holder\nname: {holder}\nkey: {public_key.hex()}\n".encode()


def require_two(approvals: Sequence[HolderApproval], holders: Iterable[KeyHolder], statement: bytes) -> None:
    """Two different enrolled holders approved this statement.

    Raises:
        DualControl: fewer did, somebody is not a holder, or an approval is for something else.
    """
    keys = {holder.holder: holder.public_key for holder in holders}
    if len({approval.holder for approval in approvals}) < HOLDERS:
        raise DualControl(f"{HOLDERS} key holders must approve")
    for approval in approvals:
        if approval.holder not in keys:
            raise DualControl(f"{approval.holder} is not a key holder")
        try:
            Ed25519PublicKey.from_public_bytes(keys[approval.holder]).verify(approval.signature, statement)
        except InvalidSignature:
            raise DualControl(f"the approval of {approval.holder} is for something else") from None


def minutes(statement: bytes, approvals: Sequence[HolderApproval], root: bytes, made_ms: int) -> bytes:
    """The text that is kept of a ceremony."""
    lines = [f"approved by: {each.holder} {each.signature.hex()}" for each in approvals]
    lines += [f"certificate, SHA-256: {hashlib.sha256(root).hexdigest()}", f"made at: {_instant(made_ms)}"]
    return statement + ("\n".join(lines) + "\n").encode()


def _instant(instant_ms: int) -> str:
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds")
