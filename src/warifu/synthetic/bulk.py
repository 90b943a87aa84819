"""Bulk data: residents with notification card, application and card, as records, a row for each table.

What a resident has follows from the seed and its number alone, as in ``synthetic.residents``. Nobody here has an
individual number or a certificate: those need the devices of their owners, one command each.
"""

import datetime
import random
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from warifu.domain.applications.records import Application, NotificationCard
from warifu.domain.cards.records import Card
from warifu.domain.residents.records import Resident
from warifu.kernel.calendar import card_valid_until
from warifu.kernel.check_digits import resident_code
from warifu.kernel.ids import application_id, card_id, ulid_text
from warifu.kernel.municipalities import Municipality
from warifu.synthetic import residents

_ULID_SEED_MS = 1_459_209_600_000
"""29 March 2016: bulk records sort before what a stack makes itself."""
_CARD_BASE = 1 << 59
"""Card numbers in the upper half: the centre's own sequence begins at the lower end."""
SEEDS = 1_000
RESIDENTS_MAX = 10_000_000
"""Of one seed. Seeds times residents is as many as there are resident codes: no two residents share one."""
_CODES = SEEDS * RESIDENTS_MAX
_SPREAD = 3_816_547_291
"""Coprime to the number of codes: neighbours' codes are far apart."""


class BulkResident(Struct, frozen=True, kw_only=True):
    """A resident's rows; the card lies at the municipality's counter (``received``) and was made by ``write_id``."""

    resident: Resident
    notification: NotificationCard
    application: Application
    card: Card

    def __repr__(self) -> str:
        """Without personal data."""
        return f"BulkResident({self.resident.resident_id})"


def bulk(
    seed: int, count: int, today: datetime.date, places: tuple[Municipality, ...], *, now_ms: int, first: int = 0
) -> Iterator[BulkResident]:
    """Residents ``first`` to ``first + count`` of a seed.

    Args:
        seed: 0 to ``SEEDS`` - 1; another one makes other people and other cards.
        count: how many.
        today: for ages and validity.
        places: where they live.
        now_ms: when their records were written.
        first: with ``count``, ``RESIDENTS_MAX`` at most.
    """
    for number in range(first, first + count):
        yield _one(seed, number, today, places, now_ms)


def _one(seed: int, number: int, today: datetime.date, places: tuple[Municipality, ...], now_ms: int) -> BulkResident:
    made = residents.resident(seed, number, today, places)
    which = seed * RESIDENTS_MAX + number
    person = made.person
    dice = random.Random(f"warifu bulk {seed} {number}")  # noqa: S311 - not for secrets: the same seed, the same people
    resident_id = _ulid(dice)
    application = application_id(dice.randbytes(16))
    return BulkResident(
        resident=msgspec.structs.replace(
            Resident.of(resident_id, resident_code(f"{which * _SPREAD % _CODES:010}"), person, now_ms), version=1
        ),
        notification=NotificationCard(
            version=1,
            resident_id=resident_id,
            application_id=application,
            municipality=person.municipality,
            sent_ms=now_ms,
        ),
        application=Application(
            version=1,
            application_id=application,
            resident_id=resident_id,
            state="accepted",
            wants_signature=False,
            wants_authentication=False,
            photo_digest=dice.randbytes(32),
            changed_ms=now_ms,
        ),
        card=Card(
            version=1,
            card_id=card_id(_CARD_BASE + which),
            application_id=application,
            resident_id=resident_id,
            live_resident_id=resident_id,
            municipality=person.municipality,
            state="received",
            wants_signature=False,
            wants_authentication=False,
            issued_on=today,
            expires_on=card_valid_until(person.birth_date, today, person.stay_until),
            write_id=_ulid(dice),
            changed_ms=now_ms,
        ),
    )


def _ulid(dice: random.Random) -> str:
    return ulid_text(_ULID_SEED_MS.to_bytes(6, "big") + dice.randbytes(10))
