"""Who may ask what: kinds of senders by message. The sender's name is proved by its certificate.

``driver`` stands for what is outside the chain: municipal systems, screens, hotline, operators.
"""

from typing import Final

_COUNTER = frozenset({"relay"})
_DRIVER = frozenset({"driver"})
_PORTAL = frozenset({"driver", "portal"})
_FACTORY = frozenset({"issuance"})

CALLERS: Final[dict[str, frozenset[str]]] = {
    "registry.register": _DRIVER,
    "registry.change": _DRIVER,
    "registry.identity": frozenset({"center", "intake"}),
    "registry.search": frozenset({"center"}),
    "numbering.find": frozenset({"center"}),
    "numbering.assign": frozenset({"registry"}),
    "numbering.reveal": frozenset({"center"}),
    "intake.notify": frozenset({"numbering"}),
    "intake.notification": _DRIVER,
    "intake.new_form": frozenset({"center", "driver"}),
    "intake.apply": _PORTAL,
    "intake.check": _PORTAL,
    "intake.accept": _PORTAL,
    "intake.follow": _PORTAL,
    "intake.report_loss": _PORTAL,
    "intake.photo": frozenset({"center", "issuance"}),
    "center.order": frozenset({"intake"}),
    "center.live_card": frozenset({"intake", "driver"}),
    "center.orders": _FACTORY,
    "center.card_keys": _FACTORY,
    "center.card_data": _FACTORY,
    "center.personalise": _FACTORY,
    "center.made": _FACTORY,
    "center.shipped": _FACTORY,
    "center.receive": _COUNTER,
    "center.open": _COUNTER,
    "center.write": _COUNTER,
    "center.confirm": _COUNTER,
    "center.close": _COUNTER,
    "center.abandon": _COUNTER,
    "center.card": frozenset({"relay", "driver"}),
    "center.cards": _COUNTER,
    "center.unsettled": frozenset({"relay", "driver"}),
    "center.holder": _COUNTER,
    "center.face": _COUNTER,
    "center.search": _COUNTER,
    "center.new_form": _COUNTER,
    "center.suspend": frozenset({"driver", "intake", "relay"}),
    "center.abolish": frozenset({"driver", "relay"}),
    "center.revoke_certificates": frozenset({"driver", "relay"}),
    "center.signing_key": frozenset({"driver", "terminal"}),
    "center.resident_changed": frozenset({"registry"}),
    "authority.issue": _FACTORY,
    "authority.enrol_holder": frozenset({"driver"}),
    "authority.make_generation": frozenset({"driver"}),
    "authority.issue_batch": frozenset({"issuance", "driver"}),
    "authority.card_keys": _FACTORY,
    "authority.open_applet": frozenset({"center", "issuance"}),
    "authority.settled": frozenset({"center"}),
    "authority.revoke": frozenset({"center"}),
    "authority.revoke_serials": _DRIVER,
    "authority.certificates": frozenset({"center", "driver"}),
    "authority.authorities": frozenset({"responder", "driver"}),
    "authority.list": frozenset({"responder"}),
    "authority.responder_certificate": frozenset({"responder"}),
    "authority.resident_changed": frozenset({"registry"}),
    "responder.ocsp": _DRIVER,
    "responder.list_part": frozenset({"front"}),
    "authority.statuses": frozenset({"front"}),
    "authority.imported": _DRIVER,
    "authority.search": frozenset({"center", "driver"}),
    "front.register_verifier": _DRIVER,
    "front.approve_verifier": _DRIVER,
    "front.suspend_verifier": _DRIVER,
    "front.verifiers": _DRIVER,
    "front.verifier_use": _DRIVER,
    "issuance.run": _DRIVER,
    "issuance.shipments": _DRIVER,
    "relay.key": frozenset({"cs"}),
    "relay.forward": frozenset({"cs"}),
    "relay.let_go": frozenset({"supervisor"}),
    "terminal.receive": _DRIVER,
    "terminal.perform": _DRIVER,
    "terminal.change_pin": _DRIVER,
    "terminal.abandon": _DRIVER,
    "node.health": frozenset({"supervisor", "driver", "relay", "terminal", "portal"}),
}
"""Every message has its row (a test holds the table to the contract)."""


def may_ask(sender: str, name: str) -> bool:
    """Whether a node of this name (``relay-1``: a relay) may send this message."""
    return _kind(sender) in CALLERS.get(name, frozenset())


def is_kind(sender: str, kind: str) -> bool:
    """Whether a node of this name is of this kind."""
    return _kind(sender) == kind


def _kind(sender: str) -> str:
    return sender.split("-", 1)[0]
