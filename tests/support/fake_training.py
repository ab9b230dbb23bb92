"""Stands in for the training process: begins a child, tells of both, then does as its spec says.

The settings of its spec: `model` is what it does: `wait` for ever, `die` of a fault, `fail` for the
user's sake, else the path of a bundle that it hands over as the result, `reject:PATH` as a bad one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from pocketlens.service._train_process import _die_with_parent, _own_stdout

_FOUND = {
    "offered": True, "metric": "accuracy", "score": 99.0, "score_current": 98.0, "num_test": 12,
    "reason": "good",
    "reasons": [{"code": "more_classes", "values": {"num": 1}}],
}  # fmt: skip


def main(spec_file: Path) -> None:
    out = _own_stdout()
    _die_with_parent()
    print("a library's word on stdout")
    spec = json.loads(spec_file.read_text(encoding="utf-8"))
    act = spec["config"]["model"]
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    place = spec_file.parent

    def tell(**line: object) -> None:
        out.write(json.dumps(line) + "\n")
        out.flush()

    tell(progress={"step": "training", "pids": [os.getpid(), child.pid]})
    if act == "wait":
        time.sleep(600)
    elif act == "die":
        raise RuntimeError(f"a fault in {place}")
    elif act == "fail":
        tell(failed={"code": "data_not_ready", "reason": f"{place}/photos/x.jpg can't be read"})
    else:
        (place / "compare.json").write_text('{"schema": 1, "rows": []}', encoding="utf-8")
        path = act.removeprefix("reject:")
        files = {"bundle": path, "comparison": str(place / "compare.json")}
        tell(result=_FOUND | files | {"offered": path == act})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
