"""Makes the chip's test kit importable here and in the programs that tests start."""

import os
import sys
from pathlib import Path

_KIT = str(Path(__file__).parents[2] / "chip")
sys.path.insert(0, _KIT)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_KIT, os.environ.get("PYTHONPATH"))))
