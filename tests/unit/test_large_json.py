"""Arrays of a JSON file item by item: as the whole file parsed, wherever the pieces end."""

import json
import random

import pytest

from pocketlens.datasets import _json

VALUE = {
    "info": {"images": [1], "text": 'a " ] } [ é 💊'},
    "images": [{"id": i, "n": [i * 0.5, -1e-7, None, True]} for i in range(30)],
    "empty": [],
    "number": 12345,
    "annotations": [1, 23456, "x", None, [], {"a": {"b": [1]}}],
    "none": [],
}


def itself(item):
    return item


KEEP = dict.fromkeys(("images", "annotations", "none"), itself)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 3])
def test_any_piece_size(chunk, indent, tmp_path, monkeypatch):
    monkeypatch.setattr(_json, "_CHUNK", chunk)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(VALUE, indent=indent, ensure_ascii=False) + " \n", "utf-8-sig")
    found = _json.read_arrays(str(path), KEEP)
    assert found == {key: VALUE[key] for key in KEEP}
    lengths = _json.read_arrays(str(path), {"images": len})
    assert lengths == {"images": [2] * 30}


def test_what_is_no_json_is_refused_wherever_it_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(_json, "_CHUNK", 64)
    path, text = tmp_path / "x.json", json.dumps(VALUE)
    rng = random.Random(0)

    def refused():
        try:
            return _json.read_arrays(str(path), KEEP) is None
        except ValueError:
            return True

    for cut in range(1, len(text), 29):
        path.write_text(text[:cut])
        assert refused()
        damaged = list(text)
        damaged[cut] = rng.choice("]}[{:,\x00")
        path.write_text("".join(damaged))
        try:
            expected = json.loads(path.read_text())
        except ValueError:
            assert refused(), damaged[cut - 20 : cut + 20]
        else:
            _json.read_arrays(str(path), dict.fromkeys(expected, itself))


@pytest.mark.parametrize("text", ["[]", "1", '{"images": 3}', '{"images": {"a": []}}', "", " "])
def test_no_such_arrays(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert _json.read_arrays(str(path), KEEP) is None


def test_nothing_may_follow(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"images": []} {"images": []}')
    with pytest.raises(ValueError, match="follows"):
        _json.read_arrays(str(path), KEEP)
    path.write_text('{"images": [1 2]}')
    with pytest.raises(ValueError, match="missing"):
        _json.read_arrays(str(path), KEEP)
