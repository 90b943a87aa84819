"""CA certificates where terminals find them: ``anchors/`` of the home, one file a generation.

JPKI's node puts each generation there as soon as it knows of it; a terminal reads them at its first use and again when
a certificate names an issuer it does not know. Counters elsewhere get the folder as they get card management's key.
"""

from collections.abc import Sequence

from warifu.domain.certificates.records import CaGeneration
from warifu.kernel.errors import Unavailable
from warifu.ports.log import Log
from warifu.stack.home import Home, write_file


def install(home: Home, log: Log, generations: Sequence[CaGeneration]) -> None:
    """Put generations there that are not; a disk that does not take them is told, and they are put there next time."""
    for each in generations:
        path = home.anchors / f"{each.ca}-{each.generation}.cer"
        try:
            if not path.exists() or path.read_bytes() != each.der:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                write_file(path, each.der)
        except OSError as error:
            log.trouble("anchors.unwritten", reason=f"{type(error).__name__} {error.errno}")


def read(home: Home) -> tuple[bytes, ...]:
    """Every CA certificate (DER) installed here. ``Unavailable`` when they cannot be read."""
    try:
        return tuple(path.read_bytes() for path in sorted(home.anchors.glob("*.cer")))
    except OSError as error:
        raise Unavailable(f"{home.anchors}: {error.strerror}") from None
