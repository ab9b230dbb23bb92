"""A service with canned answers that keeps to the HTTP contract, for tests of the page alone.

`Fake` holds what it was asked and what it answers; `serving` runs it on a free port of loopback.
"""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image

INFO = {
    "dl_name": "넥시움정 40mg",
    "dl_name_en": "Nexium Tab. 40mg",
    "dl_company": "한국아스트라제네카(주)",
    "dl_material": "에스오메프라졸마그네슘삼수화물",
    "drug_shape": "장방형",
    "print_front": "AEI",
    "print_back": "",
    "dl_mapping_code": "K-010224",
}


def answer(image: int = 0, **changes: Any) -> dict[str, Any]:
    """One entry of a prediction's result."""
    top = [
        {"label": f"K-01022{i}", "name": f"pill {i}", "class_id": i, "probability": p}
        for i, p in enumerate((0.91, 0.05, 0.02, 0.01, 0.01))
    ]
    return {
        "image": image, "box": None, "labels": top[:1], "code": None,
        "label": "K-010224", "name": "넥시움정 40mg", "class_id": 0,
        "confidence": 0.91, "unsure": False, "top": top, "info": INFO, "error": None,
    } | changes  # fmt: skip


@dataclass
class Fake:
    """What the service answers; tests change it while it runs.

    Attributes:
        pending: how often a job is still Pending, then Running, when asked for.
        asked: `METHOD path` of all requests so far; `forms` the texts of multipart forms.
        answers: of predictions; one `answer(i)` a photo where empty.
        refuse: `METHOD path` -> status and code of a problem.
    """

    pending: int = 1
    task: str = "single_label"
    token: str | None = None
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    refuse: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    canned: dict[str, Any] = field(default_factory=dict)
    datasets: dict[str, Any] = field(default_factory=dict)
    rejected: list[dict[str, str]] = field(default_factory=list)
    checked: dict[str, Any] = field(default_factory=dict)
    trained: Any = None
    models: list[dict[str, Any]] = field(default_factory=list)
    current: str = "a" * 32
    progress: dict[str, Any] | None = None

    def start(self, kind: str, result: Any) -> dict[str, Any]:
        """A new job that will end with `result`."""
        job_id = f"{len(self.jobs) + 1:032x}"
        self.jobs[job_id] = {
            "job_id": job_id, "kind": kind, "state": "Pending", "attempt": 0,
            "created_at": "2026-11-22T12:00:00Z", "started_at": None, "ended_at": None,
            "progress": None, "result": None, "reason": None, "code": None, "left": self.pending,
        }  # fmt: skip
        self.results[job_id] = result
        return {"job_id": job_id, "state": "Pending"}

    def look(self, job_id: str) -> dict[str, Any]:
        """A job, one step further each time."""
        job = self.jobs[job_id]
        if job["state"] in ("Pending", "Running"):
            if job["left"] > 0:
                job["left"] -= 1
                job["state"] = "Pending" if job["left"] >= self.pending // 2 else "Running"
                job["progress"] = self.progress if job["state"] == "Running" else None
            else:
                result = self.results[job_id]
                failed = isinstance(result, tuple)
                job["state"] = "Failed" if failed else "Done"
                job["code"], job["reason"] = result if failed else (None, None)
                job["result"] = None if failed else result
        return {name: value for name, value in job.items() if name != "left"}


def make_app(fake: Fake) -> FastAPI:
    """The application around a `Fake`."""
    app = FastAPI()

    @app.middleware("http")
    async def refuse(request: Request, call_next: Any) -> Response:
        line = f"{request.method} {request.url.path}"
        fake.asked.append(line)
        if fake.token and request.headers.get("authorization") != f"Bearer {fake.token}":
            return problem(401, "not_authenticated")
        if line in fake.refuse:
            return problem(*fake.refuse[line])
        if line in fake.canned:
            return JSONResponse(fake.canned[line])
        found: Response = await call_next(request)
        return found

    async def form(request: Request) -> dict[str, Any]:
        fields: dict[str, Any] = {"files": [], "key": request.headers.get("idempotency-key")}
        async with request.form() as given:
            for name, value in given.multi_items():
                if isinstance(value, str):
                    fields[name] = value
                else:
                    fields["files"].append((name, value.filename, len(await value.read())))
        fake.forms.append(fields)
        return fields

    @app.post("/v1/predictions", status_code=202)
    async def predict(request: Request) -> Any:
        files = (await form(request))["files"]
        answers = fake.answers or [answer(i) for i in range(len(files))]
        result = {"model_id": "m", "task": fake.task, "predictions": answers}
        usable = any(entry["error"] is None for entry in answers)
        return fake.start("predict", result if usable else ("no_usable_image", "none"))

    @app.post("/v1/explanations", status_code=202)
    async def explain(request: Request) -> Any:
        method = (await form(request))["method"]
        entry = answer()["top"][0]
        return fake.start("explain", {
            "method": "eigencam" if method == "auto" else method, "method_title": "EigenCAM",
            "of_class": False, "words": "",
            "maps": [entry | {"overlay": "/v1/jobs/x/files/map-0.png"}],
        })  # fmt: skip

    @app.get("/v1/jobs/{job_id}/files/{name}")
    async def file(job_id: str, name: str) -> Response:
        out = io.BytesIO()
        Image.new("RGB", (64, 64), "orange").save(out, "PNG")
        return Response(out.getvalue(), media_type="image/png")

    @app.get("/v1/jobs/{job_id}")
    async def job(job_id: str) -> Any:
        return fake.look(job_id) if job_id in fake.jobs else problem(404, "not_found")

    @app.get("/v1/jobs")
    async def jobs(
        kind: str | None = None,
        state: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> Any:
        hidden = {"result", "left"}
        found = [
            {k: v for k, v in job.items() if k not in hidden}
            for job in reversed(fake.jobs.values())
            if kind in (None, job["kind"]) and state in (None, job["state"])
            if after is None or job["job_id"] < after
        ]
        more = len(found) > limit
        return {"jobs": found[:limit], "next": found[limit - 1]["job_id"] if more else None}

    @app.post("/v1/jobs/{job_id}/cancel")
    async def cancel(job_id: str) -> Any:
        fake.jobs[job_id]["state"] = "Failed"
        fake.jobs[job_id]["code"] = "cancelled"
        return fake.look(job_id)

    @app.delete("/v1/jobs/{job_id}", status_code=204)
    async def forget(job_id: str) -> None:
        del fake.jobs[job_id]

    stored_routes(app, fake, form)
    return app


def stored_routes(app: FastAPI, fake: Fake, form: Any) -> None:
    """Data sets, trainings, models and what else is kept."""

    @app.get("/v1/datasets")
    async def datasets() -> Any:
        return {"datasets": list(fake.datasets.values())}

    @app.get("/v1/datasets/{name}")
    async def dataset(name: str) -> Any:
        return fake.datasets.get(name) or problem(404, "not_found")

    @app.delete("/v1/datasets/{name}", status_code=204)
    async def drop(name: str) -> None:
        del fake.datasets[name]

    @app.post("/v1/datasets/{name}/images", status_code=201)
    async def add(name: str, request: Request) -> Any:
        fields = await form(request)
        labels = json.loads(fields.get("labels", '["from the zip"]'))
        if fields.get("replace") == "true":
            counts = {"added": 0, "duplicates": 0, "replaced": len(labels)}
            return fake.datasets[name] | counts | {"rejected": fake.rejected}
        known = fake.datasets.setdefault(
            name, {"dataset": name, "num_samples": 0, "class_counts": {}}
        )
        for label in labels:
            known["class_counts"][label] = known["class_counts"].get(label, 0) + 1
            known["num_samples"] += 1
        return known | {"added": len(labels), "duplicates": 0, "rejected": fake.rejected}

    @app.get("/v1/datasets/{name}/check")
    async def check(name: str) -> Any:
        if not any(job["kind"] == "check" for job in fake.jobs.values()):
            return JSONResponse(fake.start("check", fake.checked), 202)
        return fake.checked

    @app.post("/v1/trainings", status_code=202)
    async def train(request: Request) -> Any:
        fake.forms.append(await request.json())
        return fake.start("train", fake.trained)

    @app.get("/v1/models")
    async def models() -> Any:
        listed = [model | {"current": model["id"] == fake.current} for model in fake.models]
        return {"current": fake.current, "models": listed}

    @app.post("/v1/models/{model_id}/promote")
    async def promote(model_id: str, request: Request) -> Any:
        fake.forms.append(await request.json())
        fake.current, replaced = model_id, fake.current
        return {"current": model_id, "replaced": replaced}

    @app.get("/v1/classes")
    async def classes() -> Any:
        entry = {"class_id": 0, "label": "K-010224", "name": "넥시움정 40mg", "info": INFO}
        return {"model_id": fake.current, "classes": [entry]}


def model(model_id: str, state: str, **changes: Any) -> dict[str, Any]:
    """An entry of the list of models."""
    return {
        "id": model_id, "state": state, "created_at": "2026-11-22T12:00:00Z", "runtime": "onnx",
        "precision": "int8", "size_bytes": 3_512_345, "num_classes": 17, "score": 93.114,
        "metric": "macro_f1", "reason": None, "comparison_id": None, "compared_with": "a" * 32,
    } | changes  # fmt: skip


def problem(status: int, code: str, extra: dict[str, Any] | None = None) -> JSONResponse:
    """A refusal as problem+json."""
    body = {"title": code, "status": status, "detail": f"detail of {code}", "code": code}
    body |= extra or {}
    return JSONResponse(body, status, media_type="application/problem+json")


@contextmanager
def serving(fake: Fake, port: int = 0) -> Iterator[str]:
    """The URL of a fake that runs in a thread until the block is left; 0 takes a free port."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
        config = uvicorn.Config(make_app(fake), log_config=None, access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def labels_sent(fields: dict[str, Any]) -> Any:
    """The `labels` of a form, decoded."""
    return json.loads(fields["labels"])
