"""A desk for those who follow a page."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def desk() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach too (pytest's own folders are private)."""
    folder = Path(tempfile.mkdtemp(prefix="warifu-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
