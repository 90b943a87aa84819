"""What our own set-up takes, counted; ``tests/lend`` holds these numbers against a set-up through every node."""

from typing import Final

from warifu.domain.setup_timing.model import Work

OURS: Final = Work("ours", exchanges=3, chip_commands=19)
"""open, write, confirm, close; status before, both domains' channels and scripts, status after each."""
ALLOWED: Final = Work("at most", exchanges=3, chip_commands=40)
"""What was asked of us."""
