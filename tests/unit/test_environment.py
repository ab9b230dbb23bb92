"""`scripts/environment.sh` with a Python that only notes what it is asked: whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FAKE = """#!/bin/sh
case "$*" in
    *ensurepip*) exit "${NO_VENV:-0}" ;;
    *version_info*) exit "${TOO_OLD:-0}" ;;
    -) cat >/dev/null; cat "$WHERE/key" ;;
    "-m venv"*) echo "venv" >>"$WHERE/log"; mkdir -p "$3/bin" "$3/lib"; cp "$0" "$3/bin/python" ;;
    "-m pip install"*)
        case "$*" in *--no-deps*) echo layer ;; *) echo install ;; esac >>"$WHERE/log"
        exit "${PIP_FAILS:-0}" ;;
    *purelib*) echo "${0%/bin/python}/lib" ;;
    -V*) echo "Python 3.11.0" ;;
esac
"""
TOOLS = ["sh", "dirname", "cat", "rm", "mkdir", "cp", "grep", "find", "touch", "flock"]


class Place:
    """A checkout with a fake Python on the only PATH."""

    def __init__(self, root: Path, project: Path) -> None:
        self.root = root
        self.env = {"PATH": str(root / "bin"), "WHERE": str(root)}
        self.checkout = root / "checkout"
        for folder in (root / "bin", self.checkout / "scripts"):
            folder.mkdir(parents=True)
        for tool in TOOLS:
            if found := shutil.which(tool):
                (root / "bin" / tool).symlink_to(found)
        shutil.copy(project / "scripts/environment.sh", self.checkout / "scripts")
        (root / "key").write_text("abc\n")
        self.python("python3.12", FAKE)
        # A shim of a version that is not installed: found on the PATH, but does not run.
        self.python("python3.11", "#!/bin/sh\necho 'command not found' >&2; exit 127\n")

    def python(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, **env: str) -> tuple[int, list[str], str]:
        """Exit code, what was done, and what was said."""
        (self.root / "log").write_text("")
        run = subprocess.run(
            ["sh", "scripts/environment.sh"],
            cwd=self.checkout,
            env=self.env | env,
            capture_output=True,
            text=True,
            check=False,
        )
        return run.returncode, (self.root / "log").read_text().split(), run.stderr


@pytest.fixture
def place(tmp_path: Path, project: Path) -> Place:
    return Place(tmp_path, project)


def test_made_once(place: Place) -> None:
    assert place.run()[:2] == (0, ["venv", "install"])
    assert place.run()[:2] == (0, [])


def test_brought_up_to_date(place: Place) -> None:
    place.run()
    (place.root / "key").write_text("def\n")
    assert place.run()[:2] == (0, ["install"])
    assert place.run()[:2] == (0, [])


def test_never_half_made(place: Place) -> None:
    code, done, _ = place.run(PIP_FAILS="3")
    assert (code, done) == (3, ["venv", "install"])
    assert place.run()[:2] == (0, ["venv", "install"])
    (place.root / "key").write_text("def\n")
    assert place.run(PIP_FAILS="3")[0] == 3
    assert place.run()[:2] == (0, ["venv", "install"])


def test_a_python_that_is_gone(place: Place) -> None:
    place.run()
    (place.checkout / ".venv/bin/python").write_text("#!/nowhere/python\n")
    assert place.run()[:2] == (0, ["venv", "install"])


def test_kept_requirements(place: Place, tmp_path: Path) -> None:
    cache = {"POCKETLENS_VENV_CACHE": str(tmp_path / "cache")}
    assert place.run(PIP_FAILS="3", **cache)[0] == 3
    assert place.run(**cache)[:2] == (0, ["venv", "install", "venv", "layer"])
    assert place.run(**cache)[:2] == (0, [])
    shutil.rmtree(place.checkout / ".venv")  # a fresh clone
    assert place.run(**cache)[:2] == (0, ["venv", "layer"])
    assert str(tmp_path / "cache/abc/lib") in (
        (place.checkout / ".venv/lib/requirements.pth").read_text()
    )
    # Without the cache, the thin layer is no base to install into.
    assert place.run()[:2] == (0, ["venv", "install"])


def test_old_requirements_make_room(place: Place, tmp_path: Path) -> None:
    cache = {"POCKETLENS_VENV_CACHE": str(tmp_path / "cache")}
    place.run(**cache)
    (place.root / "key").write_text("def\n")
    place.run(**cache)
    assert (tmp_path / "cache/abc").exists()
    os.utime(tmp_path / "cache/abc/complete", (0, 0))
    (place.root / "key").write_text("ghi\n")
    place.run(**cache)
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["def", "ghi", "lock"]


def test_no_python(place: Place) -> None:
    code, done, said = place.run(TOO_OLD="1")
    assert (code, done) == (2, [])
    assert said.startswith("error: no Python 3.11 or newer found")
    assert len(said.splitlines()) == 1


def test_no_venv_module(place: Place) -> None:
    code, done, said = place.run(NO_VENV="1")
    assert (code, done) == (2, [])
    assert said.startswith("error: python3.12 has no venv module")
    assert len(said.splitlines()) == 1
