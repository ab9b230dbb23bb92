"""The whole way in a real browser: service, worker and page as processes, real photos of pills."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

import pocketlens as pl
from pocketlens.core.dataset import Dataset
from pocketlens.workflows.data import read_dataset
from support.browser import chromium, reader, running

pytestmark = pytest.mark.real
NETWORK = {"model": "test_byobnet", "weights": "none", "image_size": 32}
#: How long a training of the smallest network may take on a busy machine, in milliseconds.
PATIENCE_MS = 120_000


@dataclass(frozen=True)
class Place:
    """A service whose worker isn't running yet, and the page in front of it."""

    service: str
    page: str
    home: Path
    bundle: Path
    root: Path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def pills(data_dir: Path) -> Dataset:
    return read_dataset(data_dir / "pill_aihub")


@pytest.fixture(scope="module")
def place(pills: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("service")
    few = pills.subset([sample for i, sample in enumerate(pills.samples) if i % 8 == 0])
    assert set(few.classes) == set(pills.classes)
    pl.train(few, out=root / "float", epochs=1, **NETWORK)
    bundle = pl.export(root / "float", runtime="onnx", out=root / "bundle").path
    home = root / "home"
    options = ["--home", str(home), "--port", "0", "--threads", "1", "--workers", "1"]
    with ExitStack() as stack:
        serve = ["serve", str(bundle), *options, "--no-worker"]
        service = stack.enter_context(running(serve, root / "serve"))
        ui = ["ui", "--service", service, "--port", "0"]
        page = stack.enter_context(running(ui, root / "ui"))
        yield Place(service, page, home, bundle, root)


@pytest.fixture(scope="module")
def worker(place: Place) -> Iterator[None]:
    command = ["worker", "--home", str(place.home), "--threads", "1", "--workers", "1"]
    with running(command, place.root / "worker"):
        yield


def upload(page: Page, *files: Path | dict[str, object]) -> None:
    page.locator("input[type=file]").set_input_files(list(files))  # type: ignore[arg-type]


def test_a_pill_gets_its_name(
    browser: Browser, place: Place, data_dir: Path, request: pytest.FixtureRequest
) -> None:
    """Upload, Pending while nobody works, then name and information; in Korean, too."""
    photo = sorted((data_dir / "pill_aihub" / "test_images").iterdir())[0]
    with pl.load(place.bundle) as predictor:
        expected = predictor.predict([photo])[0]
    with reader(browser) as page:
        page.goto(f"{place.page}/?lang=en")
        upload(page, photo)
        page.get_by_role("button", name="Recognise", exact=True).click()
        expect(page.get_by_text("Pending: waiting for a free worker")).to_be_visible()
        request.getfixturevalue("worker")
        name = page.locator(".pl-name")
        expect(name).to_contain_text(expected.info["dl_name_en"], timeout=PATIENCE_MS)
        expect(name).to_contain_text(expected.label)
        info = page.get_by_role("table", name="Information")
        expect(info).to_contain_text(expected.info["dl_mapping_code"])
        assert page.get_by_text("Pending").count() == 0
        page.get_by_text("한국어", exact=True).click()
        expect(page.get_by_role("table", name="정보")).to_contain_text("제품명")
        page.get_by_text("어디를 보고 판단했나요?").click()
        page.get_by_role("button", name="지도 보기").click()
        expect(page.get_by_text("EigenCAM 지도")).to_be_visible(timeout=PATIENCE_MS)
        [natural] = page.get_by_alt_text("EigenCAM").evaluate_all("p => p.map(i => i.naturalWidth)")
        assert natural > 0


def archive(pills: Dataset, data_dir: Path, num_photos: int) -> bytes:
    """A zip of photos with their AI-Hub annotations that has all classes."""
    photos = data_dir / "pill_aihub" / "train_images"
    classes: dict[str, set[str]] = {}
    for sample in pills.samples:
        classes.setdefault(Path(sample.path).name, set()).update(sample.labels)
    chosen: list[Path] = []
    seen: Counter[str] = Counter()
    # Photos of rare classes first, so that each has some to train and some to test.
    for photo in sorted(photos.iterdir(), key=lambda photo: photo.name):
        if any(seen[label] < 12 for label in classes.get(photo.name, ())):
            chosen.append(photo)
            seen.update(classes[photo.name])
    rest = [photo for photo in sorted(photos.iterdir()) if photo not in chosen]
    chosen += rest[: max(0, num_photos - len(chosen))]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for photo in chosen:
            packed.write(photo, f"images/{photo.name}")
            for note in (photos.parent / "train_annotations").glob(f"{photo.stem}_json/*/*.json"):
                packed.write(note, f"annotations/{note.relative_to(note.parents[2])}")
    return out.getvalue()


@pytest.mark.slow
def test_uploads_train_a_model_that_takes_over(
    browser: Browser, place: Place, worker: None, pills: Dataset, data_dir: Path
) -> None:
    """Teach a zip, check it, train on it, see it end, promote it: another model answers."""
    packed = archive(pills, data_dir, 75)
    before = httpx.get(f"{place.service}/v1/models").json()["current"]
    with reader(browser) as page:
        page.goto(f"{place.page}/teach?lang=en")
        data_set = page.get_by_role("combobox", name="Data set")
        data_set.fill("pills")
        data_set.press("Enter")
        page.get_by_role("radio", name="A zip file").click()
        expect(page.get_by_text("The labels come from the zip").last).to_be_visible()
        upload(page, {"name": "pills.zip", "mimeType": "application/zip", "buffer": packed})
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_text("Already there: 0. Rejected: 0.")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("of 17 classes")).to_be_visible()
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.get_by_text("Ready to be learnt from.")).to_be_visible(timeout=PATIENCE_MS)

        page.get_by_role("link", name="Train").click()
        page.get_by_role("spinbutton", name="Rounds").fill("1")
        page.get_by_text("More settings").click()
        page.get_by_role("spinbutton", name="Image size").fill("32")
        page.get_by_role("textbox", name="Network").fill(NETWORK["model"])
        # Both networks are of chance's quality; what is tested is the way.
        page.get_by_role("spinbutton", name="Points").fill("100")
        page.get_by_text("Make it small afterwards").click()
        page.get_by_role("button", name="Start training").click()
        expect(page.get_by_text("Learning from pills")).to_be_visible()
        promote = page.get_by_role("button", name="Use this model")
        expect(promote).to_be_visible(timeout=PATIENCE_MS)
        promote.click()
        page.get_by_role("button", name="Yes, do it").click()
        expect(page.get_by_text("The new model passed and answers now.")).to_be_visible()
        after = httpx.get(f"{place.service}/v1/models").json()["current"]
        assert after != before
        expect(page.get_by_text(f"Now in use: model {after[:8]}")).to_be_visible()

        page.get_by_role("link", name="Compare").click()
        row = page.get_by_role("table", name="Models").locator("tr", has_text="in use")
        expect(row).to_contain_text(after[:8])
        page.get_by_role("link", name="Recognise").click()
        upload(page, sorted((data_dir / "pill_aihub" / "test_images").iterdir())[0])
        page.get_by_role("button", name="Recognise", exact=True).click()
        expect(page.locator(".pl-name")).to_be_visible(timeout=PATIENCE_MS)
    jobs = httpx.get(f"{place.service}/v1/jobs", params={"kind": "predict"}).json()["jobs"]
    newest = httpx.get(f"{place.service}/v1/jobs/{jobs[0]['job_id']}").json()
    assert newest["result"]["model_id"] == after
    assert newest["result"]["predictions"][0]["info"]["dl_name"]
