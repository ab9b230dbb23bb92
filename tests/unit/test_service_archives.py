"""Zip archives that were made to do harm (FAULTS 35)."""

from __future__ import annotations

import io
import struct
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping

import pytest

from pocketlens.service.archives import Archive, ArchiveError, Limits, open_archive

_LINK = 0o120777 << 16


def _zip(
    files: Mapping[str, bytes] | list[tuple[zipfile.ZipInfo | str, bytes]],
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    out = io.BytesIO()
    pairs = list(files.items()) if isinstance(files, Mapping) else files
    with pytest.MonkeyPatch.context() as patch, zipfile.ZipFile(out, "w", method) as made:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # of names that come twice
        for name, data in pairs:
            made.writestr(name, data)
    return out.getvalue()


def _info(name: str, attributes: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name  # as given: no separator exchanged
    info.external_attr = attributes
    return info


def _open(data: bytes, **limits: float) -> Archive:
    return open_archive(io.BytesIO(data), Limits(**limits))  # type: ignore[arg-type]


def _names(archive: Archive) -> list[str]:
    return ["/".join(entry.parts) for entry in archive.entries]


def _codes(archive: Archive) -> list[tuple[str, str]]:
    return [(refused.name, refused.code) for refused in archive.rejected]


def test_names_that_lead_out_are_refused_and_the_rest_is_read() -> None:
    bad = [
        *("../x.jpg", "a/../../x.jpg", "/etc/passwd", "C:/x.jpg", "C:x.jpg", "..", "a/..", "///"),
        *("..\\..\\x.jpg", "\\\\host\\x.jpg", "a\nb.jpg", "a\x1b[2J.jpg", "/".join("a" * 40)),
    ]
    data = _zip([*((_info(name), b"x") for name in bad), ("a/./good.jpg", b"good")])
    archive = _open(data)
    assert _names(archive) == ["a/good.jpg"]
    assert {code for _, code in _codes(archive)} == {"unsafe_name"}
    assert len(archive.rejected) == len([name for name in bad if not name.endswith("/")])
    assert not any("\x1b" in name or "\n" in name for name, _ in _codes(archive))
    assert archive.read(archive.entries[0]) == b"good"


def test_percent_signs_are_text() -> None:
    assert _names(_open(_zip({"%252e%252e/x.jpg": b""}))) == ["%252e%252e/x.jpg"]


def test_a_name_is_not_cut_at_nul() -> None:
    data = _zip({"a.jpg~.exe": b"x"}).replace(b"a.jpg~", b"a.jpg\0")
    assert _codes(_open(data)) == [("a.jpg.exe", "unsafe_name")]


def test_links_and_devices() -> None:
    data = _zip(
        [
            (_info("link.jpg", _LINK), b"/etc/passwd"),
            (_info("pipe.jpg", 0o010666 << 16), b""),
            (_info("plain.jpg", 0o100644 << 16), b"x"),
        ]
    )
    archive = _open(data)
    assert _codes(archive) == [("link.jpg", "link"), ("pipe.jpg", "link")]
    assert _names(archive) == ["plain.jpg"]


def test_what_file_managers_leave_is_passed_over() -> None:
    data = _zip({"__MACOSX/a/._1.jpg": b"", ".DS_Store": b"", "a/.hidden": b"", "a/1.jpg": b""})
    archive = _open(data)
    assert (_names(archive), archive.rejected) == (["a/1.jpg"], [])


def test_what_unpacks_to_far_more_than_was_sent() -> None:
    data = _zip({f"{number}.bmp": bytes(3_000_000) for number in range(5)})
    archive = _open(data, spare_bytes=10_000_000)
    read = [archive.read(entry) for entry in archive.entries[:3]]
    assert all(len(one or b"") == 3_000_000 for one in read)
    with pytest.raises(ArchiveError) as raised:
        archive.read(archive.entries[3])
    assert raised.value.code == "archive_bomb"
    archive = _open(data, entry_bytes=2_999_999)
    assert archive.read(archive.entries[0]) is None
    assert _codes(archive) == [("0.bmp", "entry_too_large")]


def test_a_size_that_is_a_lie_is_no_help() -> None:
    """What counts is what comes out, not what the directory says."""
    data = bytearray(_zip({"a.bmp": bytes(1_000_000)}))
    central = data.index(b"PK\x01\x02")
    for at in (22, central + 24):
        struct.pack_into("<I", data, at, 10)
    archive = _open(bytes(data), spare_bytes=100, ratio=1)
    assert archive.read(archive.entries[0]) is None  # ten bytes don't have this checksum
    assert _codes(archive) == [("a.bmp", "damaged")]


def test_entries_that_share_their_bytes() -> None:
    """Fifield's bomb: many entries of the directory point to one."""
    data = _zip({"a.jpg": b"x" * 1000, "b.jpg": b"x" * 1000})
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 1)
    shared = bytearray(data)
    struct.pack_into("<I", shared, second + 42, 0)  # its header is the first's
    with pytest.raises(ArchiveError) as raised:
        _open(bytes(shared))
    assert raised.value.code == "overlapping_entries"
    longer = bytearray(data)
    size = struct.unpack_from("<I", data, first + 20)[0]
    struct.pack_into("<I", longer, first + 20, size + 20)  # reaches into the second
    with pytest.raises(ArchiveError) as raised:
        _open(bytes(longer))
    assert raised.value.code == "overlapping_entries"


def test_names_that_some_file_systems_take_for_one() -> None:
    composed, apart = "caf\u00e9.jpg", unicodedata.normalize("NFD", "caf\u00e9.jpg")
    data = _zip(
        [
            *(("a/x.jpg", b"1"), ("a/X.JPG", b"2"), ("a/x.jpg", b"3")),
            *((f"b/{composed}", b"4"), (f"b/{apart}", b"5"), ("A/x.jpg", b"6")),
        ]
    )
    archive = _open(data)
    assert _names(archive) == ["a/x.jpg", f"b/{composed}", "A/x.jpg"]
    assert [archive.read(entry) for entry in archive.entries] == [b"1", b"4", b"6"]
    assert [code for _, code in _codes(archive)] == ["name_collision"] * 3


def test_encrypted_entries() -> None:
    data = bytearray(_zip({"a.jpg": b"x", "b.jpg": b"y"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive = _open(bytes(data))
    assert (_codes(archive), _names(archive)) == ([("a.jpg", "encrypted")], ["b.jpg"])
    only_its_own_header = bytearray(_zip({"a.jpg": b"x"}))
    only_its_own_header[6] |= 1
    assert _codes(_open(bytes(only_its_own_header))) == [("a.jpg", "encrypted")]


def test_other_compressions_are_not_read() -> None:
    archive = _open(_zip({"a.jpg": b"x" * 100}, zipfile.ZIP_LZMA))
    assert _codes(archive) == [("a.jpg", "unknown_compression")]


def test_too_many_entries() -> None:
    data = _zip({f"{number}.jpg": b"" for number in range(101)})
    with pytest.raises(ArchiveError) as raised:
        _open(data, entries=100)
    assert raised.value.code == "too_many_entries"
    assert len(_open(data, entries=101).entries) == 101


@pytest.mark.parametrize("at", [18, 22, 30], ids=["packed size", "size", "name"])
def test_a_header_that_contradicts_the_directory(at: int) -> None:
    data = bytearray(_zip({"a.jpg": b"x" * 100, "b.jpg": b""}, zipfile.ZIP_STORED))
    data[at] ^= 1
    archive = _open(bytes(data))
    assert _codes(archive) == [("a.jpg", "damaged")]
    assert _names(archive) == ["b.jpg"]


def test_damaged_bytes() -> None:
    data = bytearray(_zip({"a.jpg": b"x" * 100, "b.jpg": b"y"}, zipfile.ZIP_STORED))
    data[40] ^= 1
    archive = _open(bytes(data))
    assert [archive.read(entry) for entry in archive.entries] == [None, b"y"]
    assert _codes(archive) == [("a.jpg", "damaged")]
    for broken in (b"", b"text", b"PK\x03\x04", bytes(data[:-30])):
        with pytest.raises(ArchiveError) as raised:
            _open(broken)
        assert raised.value.code == "bad_archive"


def test_damage_anywhere_is_no_fault_of_ours() -> None:
    whole = _zip({"a/1.jpg": b"x" * 50, "b/2.jpg": b"y" * 50})
    for at in range(len(whole)):
        for bit in (1, 0x80):
            broken = bytearray(whole)
            broken[at] ^= bit
            try:
                archive = _open(bytes(broken))
                for entry in archive.entries:
                    archive.read(entry)
            except ArchiveError:
                continue


def test_unpacking_has_an_end() -> None:
    def clock() -> Iterator[float]:
        yield from (0.0, 1.0, 2.0, 121.0)

    data = _zip({f"{number}.jpg": b"x" for number in range(9)})
    archive = open_archive(io.BytesIO(data), clock=clock().__next__)
    with pytest.raises(ArchiveError) as raised:
        for entry in archive.entries:
            archive.read(entry)
    assert raised.value.code == "archive_too_slow"


def test_korean_names_of_windows() -> None:
    """Its own code page, without a word about it; others leave out the word for UTF-8."""
    for encoding in ("cp949", "utf-8"):
        raw = "알약/1.jpg".encode(encoding)
        data = _zip({"~" * len(raw): b"x"}).replace(b"~" * len(raw), raw)
        assert _names(_open(data)) == ["알약/1.jpg"], encoding
    assert _names(_open(_zip({"알약/1.jpg": b"x"}))) == ["알약/1.jpg"]
