"""What a disk that takes no more says."""

import errno
from typing import Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No space on it, none of the user's share left, or the file may not grow."""


def is_full(error: OSError) -> bool:
    """Whether room is what is missing."""
    return error.errno in FULL
