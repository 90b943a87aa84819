"""Admission by operation: opening asks for a place; the steps of an admitted operation are never shed."""

from typing import Final

from msgspec import Struct

from warifu.contract.envelope import ServiceClass
from warifu.kernel.errors import ConnectionExcess

OPENING: Final = frozenset({"center.open", "center.receive"})
"""Messages that begin an operation; everything else belongs to one already admitted."""

RETRY_AFTER_MS: Final = 1_000


class Limits(Struct, frozen=True):
    """How many messages may be under way at once in one relay.

    ``setup`` and ``bulk`` leave room for ``delivery``; ``change`` has a share of its own above all.
    """

    total: int = 64
    setup_and_bulk: int = 40
    change_reserve: int = 8


def admit(
    name: str, service_class: ServiceClass, under_way: dict[ServiceClass, int], limits: Limits, jitter: int
) -> None:
    """Let a message in, or refuse it.

    Args:
        name: of the business message.
        service_class: its class.
        under_way: messages under way now, by class.
        limits: of this relay.
        jitter: a random byte; spreads the time to come back.

    Raises:
        ConnectionExcess: an opening came when its class has no room; says when to come back.
    """
    if name not in OPENING:
        return
    if _has_room(service_class, under_way, limits):
        return
    raise ConnectionExcess(
        f"no room for {service_class}",
        retry_after_ms=RETRY_AFTER_MS + RETRY_AFTER_MS * jitter // 255,
        place_in_line=sum(under_way.values()) + 1,
    )


def _has_room(service_class: ServiceClass, under_way: dict[ServiceClass, int], limits: Limits) -> bool:
    everyone = sum(under_way.values())
    if service_class == "change":
        return everyone < limits.total or under_way.get("change", 0) < limits.change_reserve
    if everyone >= limits.total:
        # Deliveries are refused only when deliveries and changes alone fill the relay.
        mine = under_way.get("delivery", 0) + under_way.get("change", 0)
        return service_class == "delivery" and mine < limits.total
    if service_class in {"setup", "bulk"}:
        return under_way.get("setup", 0) + under_way.get("bulk", 0) < limits.setup_and_bulk
    return True
