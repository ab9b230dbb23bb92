"""The notebooks in `examples/` run from top to bottom, and are kept without what they put out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def test_there_are_some() -> None:
    assert len(NOTEBOOKS) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], (
                "jupyter nbconvert --clear-output --inplace examples/*.ipynb"
            )
            assert cell["execution_count"] is None
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert set(notebook["metadata"]["language_info"]) == {"name"}, "of no one Python"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("POCKETLENS_EXAMPLE_QUICK", "1")
    monkeypatch.setenv("POCKETLENS_EXAMPLE_OUT", str(tmp_path))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel has its own
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}}
    ).execute()
    shown = "\n".join(
        str(output.get("text", "")) + "".join(output.get("data", {}))
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "report.html" in shown
    assert "image/png" in shown
    report = max(tmp_path.glob("*/report.html"), key=lambda file: file.stat().st_size)
    assert "<h1>" in report.read_text(encoding="utf-8")
    if "shrink" in path.stem:
        for words in (
            "macro F1 on the test photos",
            "text/markdown",
            "image/svg+xml",
            "right,",
            "★",
        ):
            assert words in shown
        assert (tmp_path / "small" / "best" / "README.md").is_file()
