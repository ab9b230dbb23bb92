"""`export --mobile-check`: whether a phone's accelerators would take a bundle's ONNX file."""

from __future__ import annotations

from pocketlens.core.errors import UserError
from pocketlens.measures.mobile import MobileCheck, check_mobile
from pocketlens.workflows.open import BundleLike, as_bundle

_FILE = "model.onnx"


def mobile_check(bundle: BundleLike) -> MobileCheck:
    """What ONNX Runtime's own check says of a bundle, in float or INT8; nothing is run.

    Raises:
        MissingExtraError: onnx isn't installed.
        UserError: the bundle holds no ONNX file.
    """
    opened = as_bundle(bundle)
    if _FILE not in opened.manifest.files:
        raise UserError(
            f"{opened.path} is a {opened.manifest.runtime} bundle without an ONNX file, which the "
            "check is for; export it with --runtime onnx"
        )
    return check_mobile(opened.file(_FILE))
