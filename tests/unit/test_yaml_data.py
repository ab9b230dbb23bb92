import pytest

from pocketlens.core.errors import DataError, UserError
from pocketlens.workflows.data import read_dataset
from support import layouts


@pytest.fixture
def root(tmp_path):
    layouts.voc(tmp_path / "old")
    layouts.voc(tmp_path / "new" / "x")
    return tmp_path


def describe(root, text):
    (root / "data.yaml").write_text(text, "utf-8")
    return root / "data.yaml"


def test_parts_and_options(root):
    path = describe(
        root,
        "format: voc\nsplits: {train: old, test: [new/x]}\noptions: {labels: boxes}\n",
    )
    data = read_dataset(path)
    assert (data.format, data.task, len(data), data.root) == ("yaml", "single_label", 6, root)
    assert {(s.part, s.path.split("/")[0]) for s in data.samples} == {
        ("train", "old"),
        ("test", "new"),
    }
    assert {p.kind: p.count for p in data.problems} == {"photo_without_box": 2}


def test_subset_and_renaming(root):
    text = "format: voc\npath: old\n"
    assert read_dataset(describe(root, text + "classes: [dog]")).classes == ("dog",)
    data = read_dataset(describe(root, text + "classes: [dog]\noptions: {labels: boxes}"))
    assert data.class_counts() == {"dog": 2}
    data = read_dataset(describe(root, text + "rename: {dog: 애완동물, cat: 애완동물}"))
    assert data.class_counts() == {"애완동물": 2}
    # Photos without a kept label stay where a photo may have several labels.
    kept = read_dataset(describe(root, text + "classes: [cat]\nrename: {cat: kitten}"))
    assert [s.labels for s in kept.samples] == [("kitten",), (), ()]


def test_class_folders_and_what_is_known(tmp_path):
    layouts.aihub(tmp_path / "d")
    data = read_dataset(describe(tmp_path, "format: aihub\npath: d\nrename: {dog: hund}"))
    assert data.class_info["hund"]["dl_name"] == "drug dog"
    layouts.photo(tmp_path / "f" / "a" / "1.jpg")
    data = read_dataset(describe(tmp_path, "format: image-folder\npath: f"))
    assert data.samples[0].path == "f/a/1.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format: voc\npath: old\nclases: [a]", "no use for 'clases'"),
        ("format: voc\npath: none", "doesn't exist"),
        ("format: voc\npath: [old]", "path must be text"),
        ("format: zip\npath: old", "choose from"),
        ("format: yaml\npath: old", "can't describe another"),
        ("format: voc\npath: old\nclasses: [bird]", "no class 'bird' in the data; it has cat, dog"),
        ("format: voc\npath: old\nclasses: cat", "must be a list"),
        ("format: voc\npath: old\nrename: {bird: x}", "no class 'bird'"),
        ("format: voc\nsplits: {dev: old}", "'dev' is no split"),
        ("format: voc\npath: old\noptions: {labels: all}", "must be one of photos, boxes"),
        ("format: voc\npath: old\noptions: {x: 1}", "--x is no option here"),
    ],
)
def test_mistakes_are_named(root, text, message):
    with pytest.raises(UserError, match=message):
        read_dataset(describe(root, text))


def test_no_format(root):
    path = describe(root, "path: old")
    with pytest.raises(DataError, match="must name a format"):
        read_dataset(path, format="yaml")
    path.write_text("!!python/object/apply:os.system [ls]")
    with pytest.raises(DataError, match="no YAML"):
        read_dataset(path, format="yaml")
    path.write_text("format: image-folder")
    with pytest.raises(UserError, match="--labels"):
        read_dataset(path, labels="boxes")
