"""What all tests share: real photos, made-up photos, a fake network, and the rule about skips."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores; more threads in each would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test reaches for a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

#: With POCKETLENS_DATA set (CI), a skip is a failure unless its reason begins with one of these.
CANNOT_BE_HAD = (
    "needs a GPU",
    "needs Windows",
    "needs macOS",
    "needs an unprivileged user",
    "needs PostgreSQL",  # .ci/run installs these where it can
    "needs Redis",
    "needs Chromium",  # likewise
    "needs LiteRT",  # can't be installed beside the rest; pyproject.toml says why
)


def _forbid_skip(report: Any) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or not os.environ.get("POCKETLENS_DATA"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if reason.startswith(CANNOT_BE_HAD):
        return
    report.outcome = "failed"
    report.longrepr = f"skipped, although POCKETLENS_DATA is set: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Any:
    report = yield
    _forbid_skip(report)
    return report


@pytest.fixture(scope="session")
def project() -> Path:
    """The checkout."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test finds what another run, or the user, has kept."""
    os.environ["POCKETLENS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """However full this machine's disk is, tests see photos kept."""
    monkeypatch.setattr("pocketlens.training.photos._FREE_SHARE", 0.0)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """What a test sets up writes nothing into the streams of those after it."""
    loggers = logging.getLogger(), logging.getLogger("pocketlens")
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def _one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes of each variant are for figures that are quoted."""
    monkeypatch.setattr("pocketlens.measures.start.ROUNDS", 1)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real photos; see CONTRIBUTING.md."""
    if not os.environ.get("POCKETLENS_DATA"):
        pytest.skip("needs real photos: set POCKETLENS_DATA")
    path = Path(os.environ["POCKETLENS_DATA"])
    assert path.is_dir(), f"POCKETLENS_DATA names no folder: {path}"
    return path


def _draw(kind: str, rng: np.random.Generator) -> Image.Image:
    """A photo-like picture: a noisy grey ground with one coloured shape somewhere on it."""
    width, height = (int(side) for side in rng.integers(40, 64, size=2))
    ground = rng.integers(90, 150) + rng.normal(0, 12, size=(height, width, 3))
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    size = int(rng.integers(18, 30))
    x, y = int(rng.integers(0, width - size)), int(rng.integers(0, height - size))
    colour = {"disc": (210, 40, 40), "square": (40, 190, 60), "bars": (50, 60, 220)}[kind]
    shade = tuple(int(v) for v in np.clip(np.array(colour) + rng.integers(-25, 25, 3), 0, 255))
    draw = ImageDraw.Draw(image)
    if kind == "disc":
        draw.ellipse((x, y, x + size, y + size), fill=shade)
    elif kind == "square":
        draw.rectangle((x, y, x + size, y + size), fill=shade)
    else:
        for offset in range(0, size, 6):
            draw.rectangle((x + offset, y, x + offset + 2, y + size), fill=shade)
    return image


@pytest.fixture(scope="session")
def make_photos() -> Callable[..., Path]:
    """`make_photos(root, per_class=20, seed=0)` writes `root/CLASS/NN.jpg|png`, three classes.

    Discs are red, squares green, bars blue: a tiny network learns them in a few steps.
    """

    def make(root: Path, per_class: int = 20, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        for kind in ("bars", "disc", "square"):
            (root / kind).mkdir(parents=True, exist_ok=True)
            for number in range(per_class):
                suffix = "png" if number % 4 == 3 else "jpg"
                _draw(kind, rng).save(root / kind / f"{number:03d}.{suffix}", quality=92)
        return root

    return make


@pytest.fixture(scope="session")
def photos(make_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 made-up photos in `CLASS/NNN.jpg`; read only, shared by all tests of a run."""
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """`encode(image_or_array, "PNG", ...)` gives the file's bytes."""

    def encode(image: Any, format: str = "PNG", **options: Any) -> bytes:
        out = io.BytesIO()
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(out, format, **options)
        return out.getvalue()

    return encode


@pytest.fixture(scope="session")
def golden(project: Path) -> Callable[[str, Any], None]:
    """`golden("name", value)` compares with tests/golden/name.json.

    UPDATE_GOLDEN=1 writes the file instead; the commit that does so says why it moved.
    """

    def check(name: str, value: Any) -> None:
        path = project / "tests" / "golden" / f"{name}.json"
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")
        assert value == json.loads(path.read_text("utf-8")), f"{path.name} no longer holds"

    return check


@pytest.fixture
def torch_threads() -> Iterator[None]:
    """One torch thread during the test, so that sums are added in one order everywhere."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A float torch bundle trained on `photos`; read only, shared by all tests of a run."""
    from support.tiny import train_tiny

    return train_tiny(photos, tmp_path_factory.mktemp("tiny") / "float")


@pytest.fixture(scope="session")
def tiny_efficientnet(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As `tiny`, with SiLU, squeeze-excite and depthwise convolutions."""
    from support.tiny import train_tiny

    out = tmp_path_factory.mktemp("tiny") / "efficientnet"
    return train_tiny(photos, out, "test_efficientnet")


@pytest.fixture(scope="session")
def tiny_onnx(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`tiny`, exported."""
    import pocketlens as pl

    return pl.export(tiny, runtime="onnx", out=tmp_path_factory.mktemp("tiny") / "onnx")


@pytest.fixture(scope="session")
def tiny_as(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """`tiny_as("compact/resnet18")`: like `tiny`, of another network; each is trained once."""
    from support.tiny import train_tiny_as

    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            out = tmp_path_factory.mktemp("tiny") / "float"
            made[name] = train_tiny_as(name, photos, out)
        return made[name]

    return get
