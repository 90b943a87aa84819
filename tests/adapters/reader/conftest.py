"""Makes the chip's test kit importable here too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "chip"))
