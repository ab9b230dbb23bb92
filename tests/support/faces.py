"""A drawn face, and a tiny SegFormer in transformers' format that knows its parts by colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

#: The classes of CelebAMask-HQ, as config.json of public face parsers has them.
LABELS = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear",
    "r_ear", "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
COLOURS = {
    "background": (90, 130, 170), "skin": (226, 172, 140), "nose": (205, 140, 110),
    "hair": (52, 34, 24), "cloth": (40, 120, 70), "l_eye": (250, 250, 250),
}  # fmt: skip
SIDE = 64


def draw_face(size: tuple[int, int] = (120, 160)) -> tuple[Image.Image, NDArray[np.uint8]]:
    """A face-like drawing, and its classes `labels_HW` by their numbers."""
    width, height = size
    image = Image.new("RGB", size, COLOURS["background"])
    labels = Image.new("L", size, 0)

    def oval(name: str, x: float, y: float, rx: float, ry: float) -> None:
        area = ((x - rx) * width, (y - ry) * height, (x + rx) * width, (y + ry) * height)
        ImageDraw.Draw(image).ellipse(area, COLOURS[name])
        ImageDraw.Draw(labels).ellipse(area, LABELS.index(name))

    oval("cloth", 0.5, 1.0, 0.45, 0.2)
    oval("hair", 0.5, 0.42, 0.36, 0.34)
    oval("skin", 0.5, 0.5, 0.28, 0.3)
    oval("nose", 0.5, 0.54, 0.06, 0.09)
    oval("l_eye", 0.38, 0.42, 0.06, 0.03)
    oval("l_eye", 0.62, 0.42, 0.06, 0.03)
    return image, np.asarray(labels)


def make_parser(folder: Path, steps: int = 250) -> Path:
    """Train a SegFormer of 10,000 parameters on coloured patches; leaves what a hub model has."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network: Any = SegformerForSemanticSegmentation(
        SegformerConfig(
            num_encoder_blocks=2, depths=[1, 1], sr_ratios=[4, 2], hidden_sizes=[8, 16],
            patch_sizes=[7, 3], strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2],
            decoder_hidden_size=16, hidden_dropout_prob=0.0, drop_path_rate=0.0,
            classifier_dropout_prob=0.0, id2label=dict(enumerate(LABELS)),
            label2id={name: i for i, name in enumerate(LABELS)},
        )
    )  # fmt: skip
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    known = list(COLOURS)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(steps):
        chosen = rng.integers(0, len(known), (8, 4, 4)).repeat(SIDE // 4, 1).repeat(SIDE // 4, 2)
        pixels = np.array([COLOURS[name] for name in known])[chosen]
        pixels = (pixels + rng.normal(0, 6, pixels.shape)) / 255
        inputs = torch.from_numpy(((pixels - mean) / std).transpose(0, 3, 1, 2).astype(np.float32))
        truth = np.array([LABELS.index(name) for name in known])[chosen][:, 2::4, 2::4]
        loss = cross_entropy(network(pixel_values=inputs).logits, torch.from_numpy(truth))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval().save_pretrained(folder)
    settings = {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 2,
        "image_mean": mean.tolist(), "image_std": std.tolist(), "rescale_factor": 1 / 255,
        "image_processor_type": "SegformerFeatureExtractor",
        "size": {"height": SIDE, "width": SIDE},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
