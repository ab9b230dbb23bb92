"""A bundle: the directory that carries a model with all it needs to be used rightly.

`manifest.json` and the runtime's own files. It appears whole or not at all, holds data only
(never a pickle), and every file's SHA-256 stands in the manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pocketlens.core.card import CARD, render
from pocketlens.core.dataset import Task
from pocketlens.core.directory import MANIFEST, new_directory
from pocketlens.core.errors import BundleError, UserError
from pocketlens.core.onnx_file import external_location
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import Input
from pocketlens.core.split import Split
from pocketlens.core.text import one_line

SCHEMA: Final = 1
SPLIT: Final = "split.json"


@dataclass(frozen=True)
class Lineage:
    """Where a bundle comes from.

    Attributes:
        parents: one entry an ancestor, the oldest first: its `id`, `runtime`, `precision` and
            the `method` that made it with its `config`.
        method: what made this bundle: `train`, `import`, `export` or a compression method.
        config: the resolved configuration of that step.
        data_hash: hash of the training samples' identities and labels.
        versions: of the libraries that took part.
    """

    parents: tuple[Mapping[str, Any], ...] = ()
    method: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    data_hash: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True)
class Manifest:
    """All that is known of a model beside its weights; see `docs/bundle.md`.

    `backend` says what computes it, in runtimes that know several; None in others.
    """

    task: Task
    classes: tuple[str, ...]
    preprocess: Preprocess
    runtime: str
    precision: str
    model: Mapping[str, Any]
    lineage: Lineage
    class_info: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    input: Input = field(default_factory=Input)
    thresholds: Mapping[str, float] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    backend: str | None = None
    schema: int = SCHEMA

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        values = asdict(self) | {"preprocess": self.preprocess.to_dict()}
        if self.backend is None:  # of most runtimes; a reader that is older doesn't know it
            del values["backend"]
        return json.dumps(values, indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Manifest:
        """The value that `to_json` wrote.

        Raises:
            BundleError: another schema, or fields missing, unknown or of the wrong kind.
        """
        if values.get("schema") != SCHEMA:
            raise BundleError(
                f"the manifest has schema {values.get('schema')!r}, this pocketlens reads {SCHEMA};"
                " use the version that wrote it, or make the bundle again"
            )
        known = {f.name for f in fields(cls)}
        if set(values) | {"backend"} != known:
            wrong = ", ".join(sorted((set(values) | {"backend"}) ^ known))
            raise BundleError(f"the manifest lacks or has unknown fields: {wrong}")
        if values["task"] not in ("single_label", "multi_label"):
            raise BundleError(f"the manifest names an unknown task {values['task']!r}")
        classes = values["classes"]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise BundleError("the manifest's classes must be a list of names")
        if not classes or len(set(classes)) != len(classes):
            raise BundleError("the manifest's classes must be different names, at least one")
        for key in ("files", "model", "class_info", "metrics", "lineage", "preprocess", "input"):
            if not isinstance(values[key], dict):
                raise BundleError(f"the manifest is damaged: {key} is no object")
        if not isinstance(values["thresholds"], dict | None):
            raise BundleError("the manifest is damaged: thresholds is no object")
        if not isinstance(values.get("backend"), str | None):
            raise BundleError("the manifest is damaged: backend is no name")
        try:
            lineage = dict(values["lineage"])
            lineage["parents"] = tuple(lineage.get("parents", ()))
            converted = {
                "classes": tuple(classes),
                "preprocess": Preprocess.from_dict(values["preprocess"]),
                "input": Input(**values["input"]),
                "lineage": Lineage(**lineage),
            }
            return cls(**{**values, **converted})
        except (TypeError, KeyError, UserError) as error:
            raise BundleError(f"the manifest is damaged: {error}") from error


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files were found to be what the manifest says."""

    path: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        """Hash of what decides the predictions: files, preprocessing, classes, thresholds."""
        m = self.manifest
        # The split travels with the model but doesn't change what it answers.
        files = {name: digest for name, digest in m.files.items() if name != SPLIT}
        facts = [files, m.preprocess.to_dict(), m.classes, asdict(m.input), m.thresholds]
        where = [m.runtime, m.precision, *([] if m.backend is None else [m.backend])]
        text = json.dumps([*facts, *where], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def family(self) -> frozenset[str]:
        """Its own id and its ancestors'; bundles of one network have one in common."""
        return frozenset((self.id, *(parent["id"] for parent in self.manifest.lineage.parents)))

    @property
    def network_id(self) -> str:
        """Id of the bundle whose network this is: its own, or what a mere export was made from.

        What computes in another precision is another network, though its file be the same.
        """
        lineage = self.manifest.lineage
        found, method = self.id, lineage.method
        for parent in reversed(lineage.parents):
            if method != "export" or parent.get("precision") != self.manifest.precision:
                break
            found, method = parent["id"], parent["method"]
        return found

    @property
    def split(self) -> Split:
        """The remembered split; empty for an imported model."""
        if SPLIT not in self.manifest.files:
            return Split()
        return Split.from_dict(json.loads((self.path / SPLIT).read_text(encoding="utf-8")))

    @property
    def card(self) -> str | None:
        """The text of its `README.md`, as somebody may have edited it; None where there is none."""
        file = self.path / CARD
        if CARD in self.manifest.files or file.is_symlink() or not file.is_file():
            return None
        return file.read_bytes().decode("utf-8", "surrogateescape")

    @property
    def size_bytes(self) -> int:
        """Size of the network's own files, those named `model.*`."""
        return sum(
            (self.path / name).stat().st_size
            for name in self.manifest.files
            if name.startswith("model.")
        )

    def file(self, name: str) -> Path:
        """One of the bundle's files.

        Raises:
            BundleError: the manifest has no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.path} has no {name}; its runtime is {self.manifest.runtime}")
        return self.path / name

    def child_lineage(
        self, method: str, config: Mapping[str, Any], versions: Mapping[str, str]
    ) -> Lineage:
        """Lineage for what is made from this bundle."""
        mine = self.manifest
        me = {
            "id": self.id,
            "runtime": mine.runtime,
            "precision": mine.precision,
            "method": mine.lineage.method,
            "config": mine.lineage.config,
        }
        return Lineage(
            parents=(*mine.lineage.parents, me),
            method=method,
            config=config,
            data_hash=mine.lineage.data_hash,
            versions=versions,
            seed=mine.lineage.seed,
        )


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Open a bundle and check every file against its hash.

    Raises:
        BundleError: no bundle, an unknown schema, a missing or altered file, a file outside
            the directory, or an ONNX file with weights in another; each with its own message.
    """
    root = Path(path)
    if not (root / MANIFEST).is_file():
        what = "has no manifest.json" if root.is_dir() else "does not exist"
        if (root / "best" / MANIFEST).is_file():
            what += f"; the one to ship is {root / 'best'}"
        raise BundleError(f"{root} is no bundle: it {what}")
    try:
        values = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise BundleError(f"{root / MANIFEST} can't be read: {error}") from error
    if not isinstance(values, dict):
        raise BundleError(f"{root / MANIFEST} does not hold an object")
    try:
        manifest = Manifest.from_dict(values)
    except BundleError as error:
        raise BundleError(f"{root}: {error}") from error
    try:
        for name, digest in manifest.files.items():
            _check_file(root, name, digest)
    except OSError as error:
        raise BundleError(f"{root} can't be read: {error.strerror}") from error
    return Bundle(root, manifest)


def _check_file(root: Path, name: str, digest: str) -> None:
    file = root / name
    pure = PurePosixPath(name)
    odd = not name or "\\" in name or "\0" in name
    outside = odd or pure.is_absolute() or ".." in pure.parts
    if outside or not file.resolve().is_relative_to(root.resolve()):
        raise BundleError(f"{root}: the manifest names a file outside the bundle: {name!r}")
    if not file.is_file():
        raise BundleError(f"{root}: the file {name} is missing; copy the whole directory again")
    if _sha256(file) != digest:
        raise BundleError(
            f"{root}: the file {name} was altered after the bundle was made; "
            "copy it again or make it anew"
        )
    if pure.suffix == ".onnx":
        _refuse_weights_elsewhere(root, name)


def _refuse_weights_elsewhere(root: Path, name: str) -> None:
    try:
        other = external_location(root / name)
    except ValueError as error:
        raise BundleError(f"{root}: {name} is no ONNX file: {error}") from error
    if other is not None:
        raise BundleError(
            f"{root}: {name} keeps weights in another file ({one_line(other)}), so its hash says "
            "nothing of its answers; import the original ONNX file again"
        )


def write_bundle(
    out: str | os.PathLike[str],
    manifest: Manifest,
    files: Mapping[str, Path | bytes],
    *,
    split: Split | None = None,
    card: str | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle whole: files, manifest and card into a temporary sibling, then one rename.

    Args:
        manifest: its `files` are filled in here.
        files: name -> bytes, or a file to copy.
        split: to remember, with the photos that ranges were found on; nothing for an empty one.
        card: the text of `README.md`, which isn't among the manifest's files, so that people may
            change it; made from the rest when None.

    Raises:
        UserError: `out` exists, or can't be written.
    """
    contents: dict[str, Path | bytes] = dict(files)
    if split is not None and (split or split.calibration):
        contents[SPLIT] = (json.dumps(split.to_dict(), indent=0) + "\n").encode()
    with new_directory(out, overwrite=overwrite) as temporary:
        for name, content in contents.items():
            if isinstance(content, bytes):
                (temporary / name).write_bytes(content)
            else:
                shutil.copyfile(content, temporary / name)
        hashes = {name: _sha256(temporary / name) for name in sorted(contents)}
        complete = Manifest(**{**vars(manifest), "files": hashes})
        (temporary / MANIFEST).write_text(complete.to_json(), encoding="utf-8")
        if CARD not in contents:
            text = render(Bundle(temporary, complete)) if card is None else card
            (temporary / CARD).write_bytes(text.encode("utf-8", "surrogateescape"))
    return Bundle(Path(out), complete)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
