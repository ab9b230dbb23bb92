"""The same predictor behind other servers, for `benchmarks/serve.py`; run by its `--rivals`.

    BENCH_SERVER=NAME BENCH_BUNDLE=DIR python benchmarks/serve_rivals.py litserve|bentoml PORT

Both are given what suits them best here: a process a core, each with one thread of the network. A
photo comes as a multipart file, is answered by pocketlens' own Predictor, and goes back as JSON.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load(bundle: str) -> Any:
    """The predictor that each of their processes opens."""
    from pocketlens.workflows.open import load

    return load(bundle, threads=1, batch_size=1)


def answer(predictor: Any, photo: bytes) -> dict[str, Any]:
    """The least that a client wants to know."""
    from pocketlens.core.predictor import Request

    (found,) = predictor.answer_batch([Request(photo)])
    prediction = predictor.prediction(found)
    return {"label": prediction.label, "top": prediction.top(5), "error": prediction.error}


# Both name their classes by module when they start processes, so these stand at its top, each
# where its library is wanted.
if os.environ.get("BENCH_SERVER") == "litserve":
    import litserve
    from fastapi import Request

    class Api(litserve.LitAPI):  # type: ignore[misc]
        """LitServe; what an endpoint is given travels to its process by a queue."""

        def setup(self, device: Any) -> None:
            """Open the predictor."""
            self.predictor = load(os.environ["BENCH_BUNDLE"])

        def decode_request(self, request: Request) -> bytes:
            """The file's bytes, of the form that LitServe makes of such a request."""
            data: bytes = request["images"].file.read()
            return data

        def predict(self, photo: bytes) -> dict[str, Any]:
            """Classify one photo."""
            return answer(self.predictor, photo)

        def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
            """As it is."""
            return output


if os.environ.get("BENCH_SERVER") == "bentoml":
    import bentoml

    @bentoml.service(workers=CORES)
    class Classifier:
        """BentoML; a file reaches an endpoint by a path."""

        def __init__(self) -> None:
            self.predictor = load(os.environ["BENCH_BUNDLE"])

        @bentoml.api  # type: ignore[untyped-decorator]
        def predict(self, images: Path) -> dict[str, Any]:
            """Classify one photo."""
            return answer(self.predictor, images.read_bytes())


def main(name: str, port: int) -> int:
    """Serve until ended."""
    if name == "litserve":
        server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=CORES)
        server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning")
        return 0
    here = Path(__file__)
    command = [sys.executable, "-m", "bentoml", "serve", f"{here.stem}:Classifier"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(here.parent)]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
