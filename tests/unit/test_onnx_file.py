"""ONNX files that keep weights elsewhere are found, by the wire format alone (FAULTS 19)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pocketlens.core.bundle import MANIFEST, read_bundle, write_bundle
from pocketlens.core.errors import BundleError
from pocketlens.core.onnx_file import external_location
from support.fake import fake_imported, mean_network


def elsewhere(name: str = "w.bin") -> TensorProto:
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="length", value="4")
    tensor.external_data.add(key="location", value=name)
    return tensor


def initializer(model: ModelProto) -> None:
    model.graph.initializer.append(elsewhere())


def constant(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=elsewhere()))


def in_a_branch(model: ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [elsewhere()])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=branch))


def in_a_list(model: ModelProto) -> None:
    node = helper.make_node("Odd", [], ["d"])
    node.attribute.append(helper.make_attribute("tensors", [elsewhere()]))
    model.graph.node.append(node)


def sparse(model: ModelProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(elsewhere())


def in_a_function(model: ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=elsewhere())
    model.functions.add(name="f", domain="d").node.append(node)


def second_location(model: ModelProto) -> None:
    tensor = elsewhere()
    tensor.external_data.insert(0, tensor.external_data[1])
    tensor.external_data[0].value = "other.bin"
    model.graph.initializer.append(tensor)


@pytest.mark.parametrize(
    "put", [initializer, constant, in_a_branch, in_a_list, sparse, in_a_function, second_location]
)
def test_weights_elsewhere_are_found(tmp_path: Path, put: Callable[[ModelProto], None]) -> None:
    model = mean_network(3)
    put(model)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert external_location(tmp_path / "net.onnx") == "w.bin"


def test_a_name_is_no_place(tmp_path: Path) -> None:
    model = mean_network(3)
    model.graph.node[0].name = "location"
    model.metadata_props.add(key="location", value="Paris")
    tensor = elsewhere()
    tensor.data_location = TensorProto.DEFAULT
    tensor.float_data.append(1.5)
    model.graph.initializer.append(tensor)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert external_location(tmp_path / "net.onnx") is None


def test_numbers_written_at_length_are_numbers(tmp_path: Path) -> None:
    content = elsewhere().SerializeToString().replace(b"\x70\x01", b"\x70\x81\x80\x00")
    assert TensorProto.FromString(content).data_location == TensorProto.EXTERNAL
    graph = b"\x2a" + bytes([len(content)]) + content
    (tmp_path / "net.onnx").write_bytes(b"\x3a" + bytes([len(graph)]) + graph)
    assert external_location(tmp_path / "net.onnx") == "w.bin"


@pytest.mark.parametrize(
    "content", [b"location", b"\x3a\xff\x01location", b"\x3a" + b"\xff" * 20 + b"location"]
)
def test_no_protobuf(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"cut off|no protobuf"):
        external_location(tmp_path / "net.onnx")


def test_a_key_on_the_edge_of_a_chunk(tmp_path: Path) -> None:
    model = mean_network(3)
    for pad in range((1 << 20) - 400, (1 << 20) - 100, 7):
        model.doc_string = "x" * pad
        initializer(model)
        (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
        assert external_location(tmp_path / "net.onnx") == "w.bin"
        del model.graph.initializer[-1]


def test_large_files_are_quick(tmp_path: Path) -> None:
    model = mean_network(3)
    model.graph.node[0].name = "location"
    big = numpy_helper.from_array(np.zeros(10_000_000, np.float32), "big")
    model.graph.initializer.append(big)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    started = time.process_time()
    assert external_location(tmp_path / "net.onnx") is None
    assert time.process_time() - started < 2


@pytest.mark.parametrize("name", [".weights", "weights.bin"])
def test_a_bundle_whose_weights_lie_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    good = fake_imported(tmp_path / "good", "abc")
    onnx.save(
        mean_network(3),
        tmp_path / "net.onnx",
        save_as_external_data=True,
        location=name,
        size_threshold=0,
    )
    files = {"model.onnx": tmp_path / "net.onnx", name: tmp_path / name}
    bundle = write_bundle(tmp_path / "b", replace(good.manifest, files={}), files)
    # ONNX Runtime would take it.
    session = ort.InferenceSession(bundle.path / "model.onnx")
    assert session.run(None, {"input": np.ones((1, 3, 4, 4), "f4")})[0].shape == (1, 3)
    with pytest.raises(BundleError, match=rf"model\.onnx keeps weights in another file \({name}"):
        read_bundle(bundle.path)


def test_a_damaged_onnx_is_no_traceback(tmp_path: Path) -> None:
    good = fake_imported(tmp_path / "good", "abc")
    write_bundle(tmp_path / "b", good.manifest, {"model.onnx": b"\x3a\xff\x01location"})
    with pytest.raises(BundleError, match=r"model\.onnx is no ONNX file"):
        read_bundle(tmp_path / "b")


def test_what_lies_beside_is_not_minded(tmp_path: Path) -> None:
    bundle = fake_imported(tmp_path / "b", "abc")
    for name in (".DS_Store", "README.md", "model.onnx.data"):
        (bundle.path / name).write_bytes(b"1")
    assert read_bundle(bundle.path) == bundle


def test_files_in_a_folder_of_the_bundle(tmp_path: Path) -> None:
    bundle = fake_imported(tmp_path / "b", "abc")
    (bundle.path / "sub").mkdir()
    os.rename(bundle.path / "model.onnx", bundle.path / "sub" / "model.onnx")
    text = (bundle.path / MANIFEST).read_text().replace('"model.onnx"', '"sub/model.onnx"')
    (bundle.path / MANIFEST).write_text(text)
    assert list(read_bundle(bundle.path).manifest.files) == ["sub/model.onnx"]
