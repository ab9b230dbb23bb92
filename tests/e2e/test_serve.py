"""`pocketlens serve` as people start it: a process with a worker beside it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pocketlens.cli import run
from support import service as support
from support.fake import fake_imported

Encode = Callable[..., bytes]

#: Each process writes down at its end what it has imported.
_SITE = """
import atexit, os, sys
def _tell():
    with open(os.path.join(os.environ["MODULES_TO"], str(os.getpid())), "w") as file:
        file.write(sys.orig_argv[-1] + "\\n" + "\\n".join(sys.modules))
atexit.register(_tell)
"""


class Served:
    """A started service."""

    def __init__(self, place: Path, *flags: str) -> None:
        (place / "site").mkdir()
        (place / "modules").mkdir()
        (place / "site" / "sitecustomize.py").write_text(_SITE)
        fake_imported(place / "bundle", support.CLASSES)
        home = ("--home", str(place / "home"), "--port", "0", "--threads", "1", "--workers", "1")
        path = os.pathsep.join([str(place / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.modules = place / "modules"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pocketlens", "serve", str(place / "bundle"), *home, *flags],
            stdout=subprocess.PIPE,
            stderr=(place / "log").open("w"),
            env={**os.environ, "PYTHONPATH": path, "MODULES_TO": str(self.modules)},
            text=True,
        )
        assert self.process.stdout is not None
        self.lines = [self.process.stdout.readline() for _ in range(2)]
        self.address = self.lines[0].split()[-1]

    def worker(self, other_than: int | None = None) -> int:
        """The number of the worker's process, once there is one."""
        return until(lambda: next((n for n in self._children() if n != other_than), None))

    def _children(self) -> list[int]:
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(word) for file in children for word in file.read_text().split()]

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(40)


def until(found: Callable[[], Any], seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
    return value


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.wait()
    assert made.process.stdout is not None
    made.process.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: /proc")
def test_a_whole_service(served: Served, encode: Encode) -> None:
    assert served.lines == [
        f"pocketlens answers at {served.address}\n",
        f"Documentation at {served.address}/docs\n",
    ]
    files = {"images": ("a.png", encode(support.photo()))}
    with httpx.Client(base_url=served.address, timeout=60) as client:
        at_once = client.post("/v1/predictions?wait=30", files=files)
        assert at_once.status_code == 200
        first = served.worker()
        os.kill(first, signal.SIGKILL)
        keyed = {"Idempotency-Key": "by-a-worker"}
        by_worker = client.post("/v1/predictions?wait=60", files=files, headers=keyed)
        assert by_worker.status_code == 200
        assert by_worker.json()["result"] == at_once.json()["result"]
        second = served.worker(other_than=first)
        photo = {"image": ("a.png", encode(support.photo()))}
        explained = client.post("/v1/explanations?wait=60", files=photo).json()["result"]
        assert explained["method"] == "occlusion"  # this network has no places inside
        picture = client.get(explained["maps"][0]["overlay"])
        assert picture.headers["content-type"] == "image/png"
        assert picture.content.startswith(b"\x89PNG")
    assert served.end() == 0
    assert not is_alive(second)
    told = [file.read_text().split("\n") for file in served.modules.iterdir()]
    known = {lines[0]: set(lines[1:]) for lines in told}
    assert "pocketlens.service.worker_process" in known
    assert len(known) == 2
    for modules in known.values():
        assert "onnxruntime" in modules
        assert not modules & {"torch", "torchvision", "timm", "sklearn", "matplotlib"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: /proc")
def test_the_worker_ends_with_its_parent(served: Served) -> None:
    """However that ends."""
    worker = served.worker()
    assert served.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not is_alive(worker))


def complaint(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["serve", *words]) == 2
    said = capfd.readouterr().err.strip().split("\n")
    assert len(said) == 1
    return said[0]


def test_what_is_wrong_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    home = ("--home", str(tmp_path / "home"))
    bundle = str(tmp_path / "bundle")
    assert "does not exist" in complaint(capfd, bundle, *home, "--port", "0")
    fake_imported(Path(bundle), support.CLASSES)
    assert "no token is set" in complaint(capfd, bundle, *home, "--host", "0.0.0.0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} of 127.0.0.1 is taken" in complaint(
            capfd, bundle, *home, "--port", port
        )
    (tmp_path / "file").write_text("")
    assert "another --home" in complaint(capfd, bundle, "--home", str(tmp_path / "file"))
    assert "can't serve on" in complaint(capfd, bundle, *home, "--tokens", tokens(tmp_path),
                                         "--host", "host.invalid")  # fmt: skip


def tokens(place: Path) -> str:
    (place / "tokens.yaml").write_text("ada: 0123456789abcdef0123\n")
    return str(place / "tokens.yaml")


def test_one_service_a_home(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from filelock import FileLock

    fake_imported(tmp_path / "bundle", support.CLASSES)
    (tmp_path / "home").mkdir()
    with FileLock(tmp_path / "home" / "serve.lock"):
        said = complaint(capfd, str(tmp_path / "bundle"), "--home", str(tmp_path / "home"))
    assert "another service runs in" in said
