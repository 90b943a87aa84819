"""One lending desk for all tests here; and the whole chain's kit is importable."""

import sys
import time
from pathlib import Path

import pytest
from lend_kit import Desk

sys.path.insert(0, str(Path(__file__).parents[1] / "nodes"))


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("lend"), time.time_ns() // 1_000_000)
