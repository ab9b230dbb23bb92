import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pocketlens.measures.duplicates import connected, near_duplicates, same, thumbnail


def picture(seed, size=(320, 240), contrast=1.0):
    small = np.random.default_rng(seed).integers(0, 256, (7, 9, 3))
    small = (128 + contrast * (small - 128)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def jpeg(image, quality):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def pairs(*images):
    return near_duplicates(np.stack([thumbnail(image) for image in images])).tolist()


@pytest.mark.parametrize(
    "change",
    [
        lambda i: jpeg(i, 40),
        lambda i: i.resize((160, 120), Image.Resampling.LANCZOS),
        lambda i: jpeg(i.resize((200, 150)), 70),
        lambda i: i.point(lambda value: min(255, value + 6)),
        lambda i: i.convert("L").convert("RGB"),
    ],
)
def test_the_same_picture_again(change):
    for seed in range(20):
        image = picture(seed)
        assert pairs(image, picture(seed + 100), change(image)) == [[0, 2]]


def test_different_pictures():
    assert pairs(*(picture(seed) for seed in range(300))) == []


def test_a_defect_on_one_rig_is_no_copy():
    plain = picture(0, contrast=0.2)
    torn = plain.copy()
    ImageDraw.Draw(torn).ellipse((100, 80, 150, 130), fill=(10, 10, 10))
    assert pairs(plain, torn) == []


def test_black_and_white_are_no_copies():
    assert pairs(Image.new("RGB", (50, 50)), Image.new("RGB", (50, 50), "white")) == []


def test_mirrored_is_no_copy():
    image = picture(3)
    assert pairs(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == []


def test_many_copies_give_a_star():
    thumbs = np.repeat(thumbnail(picture(0))[None], 50_000, axis=0)
    found = near_duplicates(thumbs)
    assert len(found) == 49_999
    assert not found[:, 0].any()


def test_many_alike_photos_are_connected_without_all_pairs():
    rng = np.random.default_rng(0)
    thumb = thumbnail(picture(0)).astype(int)
    thumbs = np.clip(thumb + rng.integers(-1, 2, (2_000, 16, 17)), 0, 255).astype(np.uint8)
    found = near_duplicates(thumbs)
    assert len(found) < 2_000 * 64
    assert len(max(connected(found), key=len)) > 1_990


def test_copies_are_found_among_many_others():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (20_000, 4, 4), dtype=np.uint8)
    thumbs = np.stack([np.asarray(Image.fromarray(c).resize((17, 16), 3)) for c in coarse])
    thumbs[10_000:10_100] = np.clip(thumbs[:100].astype(int) + 1, 0, 255)
    found = {tuple(pair) for pair in near_duplicates(thumbs).tolist()}
    wanted = {(i, 10_000 + i) for i in range(100)}
    assert len(found & wanted) >= 99
    assert len(found) <= 110


def test_small_inputs():
    assert len(near_duplicates(np.zeros((0, 16, 17), np.uint8))) == 0
    assert len(near_duplicates(np.zeros((1, 16, 17), np.uint8))) == 0
    assert same(["a", None, "b", "a", None]) == [[0, 3]]
    assert connected(np.array([[1, 2], [5, 6], [2, 3]])) == [[1, 2, 3], [5, 6]]
