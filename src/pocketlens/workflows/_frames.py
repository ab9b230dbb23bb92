"""Frames of a video file or a webcam, read one after the other by OpenCV."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocketlens.core.errors import UserError
from pocketlens.core.text import one_line
from pocketlens.extras import require

SUFFIXES: Final = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})
_WEBCAM: Final = re.compile(r"webcam(?::(\d+))?")
#: A webcam has no end; so many frames are taken where nothing is said.
WEBCAM_FRAMES: Final = 60
#: Damaged frames in a row after which a file counts as ended.
_MOST_DAMAGED: Final = 250


class Frame(NamedTuple):
    """`name` is the video's with the time in seconds: `film.mp4#t=12.5`."""

    name: str
    image_HWC: NDArray[np.uint8]


def is_video(path: str) -> bool:
    """Whether a path names a video file by its ending, or a webcam (`webcam`, `webcam:1`)."""
    if _WEBCAM.fullmatch(path):
        return not os.path.exists(path)
    return os.path.splitext(path)[1].lower() in SUFFIXES and not os.path.isdir(path)


def count_frames(path: str, every_s: float, most: int | None) -> int | None:
    """About how many frames will come, for a progress bar; None where it isn't known.

    Raises:
        MissingExtraError: OpenCV isn't installed.
        UserError: it can't be opened.
    """
    if _WEBCAM.fullmatch(path):
        with _opened(path):
            return most or WEBCAM_FRAMES
    cv2 = require("cv2", extra="video")
    with _opened(path) as video:
        number, rate = (video.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        if not (number > 0 and 0 < rate < 1e5):
            return most
        found = int(number / rate / every_s) + 1
        return found if most is None else min(found, most)


def frames(path: str, every_s: float, most: int | None) -> Iterator[Frame]:
    """Frames, one every so many seconds of the video's own clock, as upright RGB pixels.

    Raises:
        UserError: it can't be opened, or has no frame that can be read.
    """
    cv2 = require("cv2", extra="video")
    webcam = _WEBCAM.fullmatch(path)
    if webcam and most is None:
        most = WEBCAM_FRAMES
    taken, damaged, number = 0, 0, 0
    with _opened(path) as video:
        rate = video.get(cv2.CAP_PROP_FPS)
        step = 1 / rate if 0 < rate < 1e5 else 1 / 30
        due, last = 0.0, -1.0
        while most is None or taken < most:
            if not video.grab():
                damaged += 1
                if webcam or damaged > _MOST_DAMAGED or not _goes_on(cv2, video, number + damaged):
                    break
                continue
            number, damaged = number + 1, 0
            time_s = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not time_s > last:  # some containers and cameras tell no time
                time_s = (number - 1) * step
            last = time_s
            if time_s < due - step / 2:
                continue
            good, image = video.retrieve()
            if not good or image is None or image.ndim != 3:
                continue
            due = max(due + every_s, time_s)
            taken += 1
            yield Frame(f"{path}#t={round(time_s, 3):g}", np.ascontiguousarray(image[..., ::-1]))
    if not taken:
        raise UserError(f"{one_line(path)} has no frame that can be read; is it a video?")


def _goes_on(cv2: Any, video: Any, number: int) -> bool:
    """Whether a file has frames behind one that can't be read."""
    return bool(video.get(cv2.CAP_PROP_FRAME_COUNT) > number)


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    cv2 = require("cv2", extra="video")
    webcam = _WEBCAM.fullmatch(path)
    if webcam is None and not os.path.isfile(path):
        raise UserError(f"{one_line(path)} doesn't exist; check the path")
    # What OpenCV and FFmpeg write to stderr themselves is not for the user.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    video = cv2.VideoCapture(int(webcam[1] or 0) if webcam else os.path.abspath(path))
    try:
        if not video.isOpened():
            raise UserError(
                f"{path} can't be opened; is a camera there, and may this program use it?"
                if webcam
                else f"{one_line(path)} is no video that OpenCV can read; save it as MP4 (H.264)"
            )
        yield video
    finally:
        video.release()
