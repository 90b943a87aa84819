"""The machine that measures: figures mean nothing without it."""

import os
import platform


def machine() -> str:
    """What this was measured on."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"{os.cpu_count()} processors, {system}, {platform.python_implementation()} {platform.python_version()}"
