import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "memory_check.py"


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--distinct"]])
def test_memory_of_check_stays_flat(options):  # Data sets, 17
    run = subprocess.run([sys.executable, BENCHMARK, *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout)["runs"][1]["num_samples"] == 50_000
