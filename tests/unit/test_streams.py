"""Several calls of a session at once: the same answers, and no call waits for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pocketlens import plugins
from pocketlens.core.session import FakeSession
from pocketlens.workflows.open import load
from support.fake import fake_imported

TOGETHER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from pocketlens import plugins
from pocketlens.core.bundle import read_bundle
from pocketlens.core.session import SessionOptions

bundle, barrier = read_bundle(sys.argv[1]), Barrier(4)
session = plugins.load("runtimes", bundle.manifest.runtime).open(bundle, SessionOptions(4, 4))
one = session(np.ones((3, 3, 16, 16), np.float32)).tolist()


def call(_):
    barrier.wait()
    return [session(np.ones((3, 3, 16, 16), np.float32)).tolist() for _ in range(50)]


with ThreadPoolExecutor(4) as pool:
    assert all(found == [one] * 50 for found in pool.map(call, range(4)))
"""


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_calls_at_once(runtime: str, tmp_path: Path) -> None:
    """In a process of its own: what OpenVINO sets up at its first answer is set up once."""
    import pocketlens as pl

    bundle = fake_imported(tmp_path / "a", ("a", "b"))
    if runtime != "onnx":
        bundle = pl.export(bundle, runtime=runtime, out=tmp_path / "b")
    one = "one = session(np.ones((3, 3, 16, 16), np.float32)).tolist()"
    code = TOGETHER.replace(one, "").replace("== [one] * 50", "== [found[0]] * 50")
    for text in (TOGETHER, code):  # asked by one thread before, and by all at once first
        command = [sys.executable, "-c", text, str(bundle.path)]
        subprocess.run(command, check=True, timeout=120)


def test_a_runtime_that_takes_one_call_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = fake_imported(tmp_path / "a", ("a", "b"))
    plugin = plugins.load("runtimes", "onnx")
    asked = []

    def opened(_: object, options: object) -> FakeSession:
        asked.append(options)
        return FakeSession(lambda x: np.zeros((len(x), 2), np.float32))

    monkeypatch.setattr(plugin, "open", opened)
    assert load(bundle, streams=3).streams == 3
    monkeypatch.delattr(plugin, "STREAMS")
    assert load(bundle, streams=3).streams == 1
    assert [options.streams for options in asked] == [3, 1]
