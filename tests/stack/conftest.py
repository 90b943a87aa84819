"""Homes for stacks."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from warifu.stack.home import Home


@pytest.fixture
def home() -> Iterator[Home]:
    """A home that PostgreSQL's user can reach too (pytest's own folders are private)."""
    folder = Path(tempfile.mkdtemp(prefix="warifu-test-"))
    made = Home(folder)
    made.prepare()
    yield made
    shutil.rmtree(folder)
