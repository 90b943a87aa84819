"""What every process of a stack may have."""

import resource
import subprocess
import sys

import pytest

SAY = """
import resource
from warifu.stack.processes import FILES, open_more_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
open_more_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE), FILES)
"""


@pytest.mark.real
@pytest.mark.parametrize(("soft", "hard"), [(256, 2_000), (900, 900)])
def test_it_opens_as_many_files_as_it_may(soft: int, hard: int) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.fail("this machine allows fewer than 2,000 open files")
    said = subprocess.run(
        [sys.executable, "-c", SAY.format(soft=soft, hard=hard)], capture_output=True, text=True, check=True
    )
    now, most, bound = map(int, said.stdout.split())
    assert (now, most) == (min(hard, bound), hard)
