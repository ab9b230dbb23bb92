"""A small video file made by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_video(
    path: Path, colours: Sequence[tuple[int, int, int]], *, rate: float = 10.0, each: int = 10
) -> Path:
    """Plain frames: each RGB colour for so many frames."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (64, 48))
    assert writer.isOpened()
    for colour in colours:
        frame = np.full((48, 64, 3), colour[::-1], dtype=np.uint8)
        for _ in range(each):
            writer.write(frame)
    writer.release()
    return path
