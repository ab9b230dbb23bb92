"""With POCKETLENS_DATA set, a skip is a failure: CI can't pass by leaving things out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_skips():
    pytest.skip("this and that")

@pytest.mark.skipif(True, reason="no mood")
def test_marked():
    pass

def test_impossible():
    pytest.skip("needs a GPU with 8 GB")

@pytest.mark.xfail(reason="known")
def test_xfail():
    raise ValueError

def test_fine():
    pass
"""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", "1 passed, 4 skipped, 1 xfailed"),
        (".", "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors"),
    ],
)
def test_a_skip_fails_where_the_real_photos_are(
    project: Path, tmp_path: Path, data: str, expected: str
) -> None:
    (tmp_path / "conftest.py").write_text((project / "tests/conftest.py").read_text())
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text("import pytest; pytest.importorskip('no_such_thing')")
    env = {**os.environ, "POCKETLENS_DATA": data}
    env = {k: v for k, v in env.items() if not k.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, "--continue-on-collection-errors", str(tmp_path)],
        capture_output=True,
        text=True,
        env=env,
        cwd=tmp_path,
        check=False,
    )
    counts = run.stdout.strip().splitlines()[-1].split(" in ")[0]
    assert counts == expected, run.stdout
