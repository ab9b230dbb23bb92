"""Trainings: their settings, and the process that does the work."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from pocketlens.core.bundle import Bundle
from pocketlens.extras import installed
from pocketlens.training.config import TrainConfig

#: What a request may say, beside `dataset`, `shrink`, `promote` and `max_drop`.
OVERRIDES: Final = ("epochs", "model", "image_size", "lr", "batch_size", "seed")
#: Settings of the current model's training that belong to the machine where it ran, or name files.
_OF_THAT_MACHINE: Final = ("teacher", "teacher_features", "track", "devices", "workers", "weights")

SHRINK_MINUTES: Final = 15.0
#: Seconds between SIGTERM and SIGKILL.
_GRACE: Final = 5.0
_LAST_LINES: Final = 30
#: An absolute path of two parts or more, and its last part.
_PATH: Final = re.compile(
    r"(?<![\w.:/])(?:[A-Za-z]:)?(?:[/\\][^\s/\\:;,'\"]+)+[/\\]([^\s/\\:;,'\"]+)"
)
#: What is run, before the file of the spec.
COMMAND: Final = (sys.executable, "-m", "pocketlens.service._train_process")


@dataclass(frozen=True)
class Spec:
    """What the process is told; it knows neither database nor storage.

    Attributes:
        name: of the data set, for people.
        data: directory that `datasets.materialise` wrote.
        current: the bundle that answers now.
        current_id: its model id.
        config: settings of `TrainConfig`.
        max_drop: points of the metric that may be lost, for the search and for the gate.
        max_latency_ms: if given, the new model may be slower than the current one, up to this.
    """

    name: str
    data: str
    current: str
    current_id: str
    config: Mapping[str, Any] = field(default_factory=dict)
    shrink: bool = True
    max_drop: float = 0.5
    max_latency_ms: float | None = None
    shrink_minutes: float = SHRINK_MINUTES
    threads: int | None = None

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


class TrainingFailedError(Exception):
    """The process ended without a result. `code` is a word, the text a line without paths."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class ProcessDiedError(RuntimeError):
    """A fault of ours, or of the machine; the text holds the process's last lines, for the log."""


def unavailable() -> str:
    """Why nothing can be trained on this machine; empty: it can. Loads nothing."""
    if installed("train"):
        return ""
    return "this worker can't train: pip install 'pocketlens[train]' on its machine"


def settings_for(current: Bundle, request: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `TrainConfig`: as the current model was trained, but for what is asked for.

    Of a model that wasn't trained here the network's name and the image size are taken.
    """
    known = {f.name for f in fields(TrainConfig)} - set(_OF_THAT_MACHINE)
    before = _trained_with(current)
    config = {k: v for k, v in before.items() if k in known}
    if not config:
        name = str(current.manifest.model.get("name") or "")
        config = {"image_size": current.manifest.preprocess.height}
        config |= {"model": name} if current.manifest.model.get("family") != "onnx" else {}
    if before.get("weights") == "none":
        config["weights"] = "none"  # a path is another machine's; the default finds them anew
    config |= {k: request[k] for k in OVERRIDES if request.get(k) is not None}
    if config.get("model") != before.get("model", config.get("model")) and (
        request.get("image_size") is None
    ):
        config.pop("image_size", None)  # each network has its own
    epochs = config.get("epochs", TrainConfig.epochs)
    config["freeze_epochs"] = min(config.get("freeze_epochs", 0), epochs - 1)
    return config


def _trained_with(bundle: Bundle) -> Mapping[str, Any]:
    lineage = bundle.manifest.lineage
    if lineage.method == "train":
        return lineage.config
    steps = [parent for parent in lineage.parents if parent.get("method") == "train"]
    return dict(steps[-1].get("config") or {}) if steps else {}


def run_process(
    spec_file: Path,
    *,
    beat: Callable[[Mapping[str, Any] | None], None],
    every: float = 0.5,
) -> dict[str, Any]:
    """Run the process to its end.

    Args:
        spec_file: in the directory of the work; one process at a time works there.
        beat: told of progress, or of None at least `every` seconds; what it raises stops the
            process and all that it began, and gets out.

    Raises:
        TrainingFailedError: the user's data or settings are at fault.
        ProcessDiedError: it ended without a word.
    """
    place = spec_file.parent
    stop_left(place)
    # Photos in the cache are somebody's: they go with the directory of the work.
    env = {**os.environ, "POCKETLENS_CACHE": str(place / "cache")}
    with (place / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [*COMMAND, str(spec_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=env,
            start_new_session=True,
        )
    (place / "pid").write_text(str(process.pid))
    lines: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    ended: dict[str, Any] = {}
    try:
        while True:
            try:
                line = lines.get(timeout=every)
            except queue.Empty:
                beat(None)
                continue
            if line is None:
                break
            told = json.loads(line)
            if "progress" in told:
                beat(told["progress"])
            else:
                ended = told
        while process.poll() is None:
            beat(None)
            with suppress(subprocess.TimeoutExpired):
                process.wait(every)
    finally:
        stop(process)
    if failed := ended.get("failed"):
        raise TrainingFailedError(failed["code"], without_paths(failed["reason"], place))
    if "result" not in ended:
        raise ProcessDiedError(f"exit code {process.returncode}\n{_last_lines(place / 'log.txt')}")
    result: dict[str, Any] = ended["result"]
    return result


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group: asked first, then forced."""
    for signal_number, seconds in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, None)):
        if process.poll() is not None and signal_number is signal.SIGTERM:
            continue
        # The leader may be gone and its children not.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal_number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def stop_left(place: Path) -> None:
    """End what an earlier attempt left here; its worker may only have been slow to give signs."""
    try:
        pid = int((place / "pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return
    if str(place / "spec.json").encode() in words:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[bytes | None]) -> None:
    assert process.stdout is not None
    with suppress(ValueError):  # closed, as nobody listens any more
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def _last_lines(file: Path) -> str:
    with file.open("rb") as opened:
        lines = deque(opened, maxlen=_LAST_LINES)
    return b"".join(lines).decode("utf-8", "replace")


def without_paths(text: str, place: Path) -> str:
    """A line for a client: of paths on this machine only the last part is left."""
    return _PATH.sub(r"\1", text.replace(f"{place}{os.sep}", ""))
