"""Forms that bring labelled photos."""

from __future__ import annotations

import unicodedata
from typing import Final, get_args

from pocketlens.core.dataset import Box, Task
from pocketlens.datasets._photos import Labels
from pocketlens.service.api.forms import Form, form_body
from pocketlens.service.api.problems import Problem
from pocketlens.service.api.routes.predictions import is_box
from pocketlens.service.marks import Mark

BODY: Final = form_body(
    {
        "type": "object",
        "properties": {
            "images": {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                "description": "Photos, each with its entry in `labels`.",
            },
            "labels": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "A JSON list with an entry for each image: a text, or "
                "a list of texts where photos have any number of labels.",
                "example": '["scratch", "dent"]',
            },
            "boxes": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "A JSON list with an entry for each image: null, or "
                "[x, y, width, height] in pixels of the upright photo.",
                "example": "[null, [10, 20, 200, 150]]",
            },
            "archive": {
                "type": "string",
                "format": "binary",
                "description": "A zip in place of `images`: folders named after their "
                "classes, AI-Hub's JSON files, or YOLO's label files with photos.",
            },
            "classes": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "A JSON list of the names of YOLO's class numbers, "
                "where the archive has no data.yaml or classes.txt.",
                "example": '["pill", "capsule"]',
            },
            "read_as": {
                "type": "string",
                "enum": list(get_args(Labels)),
                "default": "boxes",
                "description": "Of YOLO data: each box with its label, or each photo "
                "with the labels of all its boxes.",
            },
            "replace": {
                "type": "string",
                "enum": ["true", "false"],
                "default": "false",
                "description": "Whether a photo or box that is there with other "
                "labels gets the new ones; else it is refused.",
            },
        },
    },
    text=("labels", "boxes", "classes"),
)


def marks(form: Form, num: int) -> tuple[list[Mark], Task]:
    """What is said of each photo, and whether photos have one label each."""
    labels, boxes = form.json("labels"), form.json("boxes")
    if not isinstance(labels, list) or len(labels) != num:
        raise Problem(422, "bad_labels", f"labels: a list of {num} entries is needed, one an image")
    several = any(isinstance(entry, list) for entry in labels)
    lists = [entry if isinstance(entry, list) else [entry] for entry in labels]
    if not all(isinstance(label, str) for entry in lists for label in entry):
        raise Problem(422, "bad_labels", "labels: each is a text, or a list of texts")
    # Names of folders on a Mac spell Korean and accents in another form than what is typed.
    lists = [[unicodedata.normalize("NFC", label) for label in entry] for entry in lists]
    boxes = [None] * num if boxes is None else boxes
    if not isinstance(boxes, list) or len(boxes) != num:
        raise Problem(422, "bad_boxes", f"boxes: a list of {num} entries is needed, one an image")
    if not all(box is None or is_box(box) for box in boxes):
        raise Problem(422, "bad_boxes", "boxes: each is null or [x, y, width, height]")
    found = [
        Mark(tuple(dict.fromkeys(entry)), None if box is None else Box(*map(float, box)))
        for entry, box in zip(lists, boxes, strict=True)
    ]
    return found, "multi_label" if several else "single_label"


def classes(form: Form) -> list[str] | None:
    """Names of YOLO's class numbers, where they were given."""
    found = form.json("classes")
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise Problem(422, "invalid_request", "classes: a list of texts is needed")
    return found


def read_as(form: Form) -> Labels:
    """What YOLO's boxes are to be."""
    text = form.text("read_as") or "boxes"
    if text == "photos":
        return "photos"
    if text != "boxes":
        raise Problem(422, "invalid_request", "read_as: it is `boxes` or `photos`")
    return "boxes"


def replace(form: Form) -> bool:
    """Whether what is there with other labels gets the new ones."""
    text = form.text("replace")
    if text not in (None, "true", "false"):
        raise Problem(422, "invalid_request", "replace: it is `true` or `false`")
    return text == "true"
