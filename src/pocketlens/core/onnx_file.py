"""Does an ONNX file keep weights in another file? Found out without the onnx package.

An ONNX file is a protobuf message, in which a tensor may name another file that holds its values
("external data"). ONNX Runtime reads that file from the model's directory, whatever it is, so
nothing that was said of the model's own bytes, such as their hash, holds for the answers. Only
as much of the wire format is read here as leads to tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

#: Every tensor with values elsewhere has an entry of this name, so most files need no more than
#: a search for it.
_KEY: Final = b"location"
_CHUNK: Final = 1 << 20

#: Message -> its fields that lead to tensors -> what they hold; numbers from onnx.proto.
_FIELDS: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"
    },
    "sparse": {1: "tensor", 2: "tensor"},
}  # fmt: skip
_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14


def external_location(path: Path) -> str | None:
    """Name of a file in which this ONNX file keeps weights; None where it holds all its own.

    Raises:
        OSError: it can't be read.
        ValueError: it is no protobuf message.
    """
    if not _holds(path, _KEY):
        return None
    content = memoryview(path.read_bytes())
    pending = [("model", content)]
    while pending:
        kind, message = pending.pop()
        if kind == "tensor":
            if (found := _location(message)) is not None:
                return found
            continue
        for number, value in _fields(message):
            if number in _FIELDS[kind] and isinstance(value, memoryview):
                pending.append((_FIELDS[kind][number], value))
    return None


def _location(tensor: memoryview) -> str | None:
    """Where a tensor's values are, if elsewhere."""
    external, name = False, ""
    for number, value in _fields(tensor):
        if number == _DATA_LOCATION and isinstance(value, int):
            # An enum is what is left of 32 bits.
            external = external or value & 0xFFFFFFFF == 1
        elif number == _EXTERNAL_DATA and isinstance(value, memoryview):
            entry = {n: bytes(v) for n, v in _fields(value) if isinstance(v, memoryview)}
            if entry.get(1) == _KEY:
                name = entry.get(2, b"").decode(errors="replace")
    return name if external else None


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Numbers and values of a message's fields; fixed-size values, which lead nowhere, as 0."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = (tag & 0xFFFFFFFF) >> 3, tag & 7
        value: memoryview | int = 0
        if kind == 0:
            value, at = _varint(message, at)
        elif kind == 2:
            size, at = _varint(message, at)
            value = message[at : at + size]
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("no protobuf message")
        if at > len(message):
            raise ValueError("the message is cut off")
        yield number, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("the message is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("no protobuf message")


def _holds(path: Path, text: bytes) -> bool:
    with path.open("rb") as file:
        end = b""
        while chunk := file.read(_CHUNK):
            if text in end + chunk:
                return True
            end = chunk[-len(text) + 1 :]
    return False
