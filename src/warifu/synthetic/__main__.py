"""``python -m warifu.synthetic [count] [seed] [folder]``: print a few residents; with a folder, write their photos."""

import datetime
import sys
from pathlib import Path

from warifu.kernel.calendar import JST, age_on, era_text
from warifu.synthetic.photos import portrait
from warifu.synthetic.residents import SyntheticResident, residents

_USAGE = "usage: python -m warifu.synthetic [count] [seed] [folder for photos]"


def describe(one: SyntheticResident, today: datetime.date) -> str:
    """A resident in three lines. For synthetic ones only: it shows everything."""
    person = one.person
    former = f" [{person.former_surname}]" if person.former_surname else ""
    stay = f", stays until {person.stay_until}" if person.stay_until else ""
    return (
        f"{one.number:4d}  {person.name}{former} ({person.kana}), {person.sex}, {one.kind}{stay}\n"
        f"      {era_text(person.birth_date)}, {age_on(person.birth_date, today)}; {person.address}\n"
        f"      individual number {one.individual_number}, resident code {one.resident_code}\n"
    )


def main(arguments: list[str]) -> int:
    """Print; returns the exit status."""
    try:
        count = int(arguments[0]) if arguments else 5
        seed = int(arguments[1]) if len(arguments) > 1 else 1
    except ValueError:
        sys.stderr.write(_USAGE + "\n")
        return 2
    today = datetime.datetime.now(JST).date()
    folder = Path(arguments[2]) if len(arguments) > 2 else None  # noqa: PLR2004 - the third argument
    for one in residents(seed, count, today):
        sys.stdout.write(describe(one, today))
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            age = age_on(one.person.birth_date, today)
            (folder / f"{one.number:04d}.jpg").write_bytes(portrait(one.photo_seed, age, one.person.sex))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
