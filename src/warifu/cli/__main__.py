"""``python -m warifu.cli``."""

import sys

from warifu.cli import main

sys.exit(main())
