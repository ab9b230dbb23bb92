"""Made-up comparisons: a small one for golden files, a full one to look at, and odd ones."""

from __future__ import annotations

import base64
import io
import random
from dataclasses import replace

from pocketlens.core.comparison import ClassDamage, Comparison, Flip, Parity, Row
from pocketlens.core.gate import Limits, choose

#: One grey pixel, so that golden files don't depend on an encoder.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
NASTY = (
    "<script>alert(1)</script>",
    "=cmd()",
    "불량 셀 🔥 균열",
    "x" * 300,
    "\x1b[31mred\x1b[0m\x00 `a` | *b* [c](http://evil.example)",
    'quote" onload="alert(2)',
)

MACHINE = {
    "cpu": "Intel(R) Xeon(R) Processor @ 2.60GHz", "cores": 2, "threads": 2, "memory_gb": 7.7,
    "system": "Linux 6.1 x86_64", "cpu_flags": ["sse4_2", "avx2", "avx512f", "avx512_vnni"],
    "versions": {"pocketlens": "0.1.0", "onnxruntime": "1.31.1", "torch": "2.14.1"},
}  # fmt: skip
DATA = {
    "name": "elpv", "task": "single_label", "split": "test", "num_samples": 2624,
    "num_test": 394, "num_classes": 2, "metric": "macro_f1",
}  # fmt: skip


_NAMES = (
    "static-minmax", "static-percentile", "static-entropy", "static-first-last-float",
    "qat-5-epochs", "prune30-static", "dynamic",
)  # fmt: skip
_LOST = {"drop": 0.35, "drop_low": -0.4, "drop_high": 1.1}


def row(name: str, **values: object) -> Row:
    """A row as a measurement gives it."""
    base = Row(
        name=name,
        runtime="onnx",
        precision="int8",
        method="onnx-static",
        metric="macro_f1",
        score=85.9,
        drop=0.35,
        drop_low=-0.4,
        drop_high=1.1,
        val_drop=0.2,
        loss=0.331,
        size_bytes=3_520_000,
        params=3_370_000,
        macs=384_000_000,
        latency_ms=4.21,
        latency_ms_p95=4.6,
        latency_ms_spread=0.12,
        e2e_latency_ms=9.8,
        throughput=301.5,
        batch=32,
        speedup=3.41,
        speedup_float=2.08,
        rank_best=1,
        rank_worst=2,
        cold_start_ms=412.0,
        memory_bytes=96_000_000,
        roofline_percent=21.7,
        agreement=98.2,
        metrics={"macro_f1": 85.9, "accuracy": 88.1},
        intervals={"macro_f1": _LOST, "accuracy": _LOST},
    )
    return replace(base, **values)  # type: ignore[arg-type]


def float_row(name: str = "float", **values: object) -> Row:
    """The float model in PyTorch, which drops are counted from."""
    given: dict[str, object] = {
        "runtime": "torch",
        "precision": "float32",
        "method": "train",
        "score": 86.25,
        "drop": 0.0,
        "drop_low": 0.0,
        "drop_high": 0.0,
        "val_drop": 0.0,
        "loss": 0.32,
        "size_bytes": 13_480_000,
        "latency_ms": 14.36,
        "latency_ms_p95": 16.2,
        "e2e_latency_ms": 20.1,
        "throughput": 88.0,
        "speedup": 1.0,
        "speedup_float": 0.61,
        "agreement": 100.0,
    }
    return row(name, **(given | values))


def onnx_row(**values: object) -> Row:
    """The float model in ONNX Runtime, its fastest runtime."""
    given: dict[str, object] = {
        "runtime": "onnx",
        "method": "export",
        "latency_ms": 8.76,
        "latency_ms_p95": 9.3,
        "size_bytes": 13_510_000,
        "speedup": 1.64,
        "speedup_float": 1.0,
        "throughput": 140.0,
    }
    return float_row("float-onnx", **(given | values))


def compared(rows: list[Row], limits: Limits | None = None, **values: object) -> Comparison:
    """A comparison of these rows, judged."""
    limits = limits or Limits()
    reference = rows[0].name if rows else ""
    return Comparison(
        rows=choose(rows, limits, reference=reference),
        reference=reference,
        machine=values.pop("machine", MACHINE),  # type: ignore[arg-type]
        data=values.pop("data", DATA),  # type: ignore[arg-type]
        limits={
            "max_drop": limits.max_drop,
            "max_size_mb": limits.max_size_mb,
            "max_latency_ms": limits.max_latency_ms,
            "goal": limits.goal,
        },
        **values,  # type: ignore[arg-type]
    )


def small() -> Comparison:
    """Four models, two classes, two photos: what golden files show."""
    rows = [
        float_row(),
        onnx_row(),
        row("int8-static"),
        row(
            "int8-dynamic",
            method="onnx-dynamic",
            score=84.1,
            drop=2.15,
            drop_low=0.9,
            drop_high=3.4,
            val_drop=1.9,
            latency_ms=19.5,
            latency_ms_p95=22.0,
            speedup=0.74,
            speedup_float=0.45,
            agreement=94.4,
            noisy=True,
        ),
        Row("int4", "onnx", "int4", "onnx-int4", "macro_f1", verdict="skipped", reason="no time"),
    ]
    return compared(
        rows,
        classes=("functional", "defective"),
        confusion={"float": [[250, 14], [30, 100]], "int8-static": [[248, 16], [30, 100]]},
        damage=(
            ClassDamage("int8-static", "functional", 264, 91.9, 91.5),
            ClassDamage("int8-static", "defective", 130, 82.0, 81.3),
        ),
        flips=(
            Flip(
                "int8-static", "cell0012.png", "functional", "functional", "defective", 56.1, 51.9
            ),
            Flip(
                "int8-static",
                "cell0404.png",
                "defective",
                "functional",
                "defective",
                50.4,
                63.0,
                PIXEL,
            ),
        ),
        num_flips={"int8-static": 7},
        parity=(
            Parity(("float", "float-onnx"), 200, 2.1e-6, 3.3e-7, 4.81, 0.9999999, 100.0),
            Parity(("int8-static", "x"), 200, 0.31, 0.02, 4.7, 0.997, 99.5, ("cell0404.png",)),
        ),
        notes=("12 photos could not be read and were left out.",),
        config={"max_drop": 0.5, "methods": ["onnx-static", "onnx-dynamic"], "seed": 0},
    )


def nasty() -> Comparison:
    """The small comparison with names that mean harm."""
    made = small()
    reason = NASTY[0] + NASTY[4]
    bad = Row(NASTY[1], NASTY[0], NASTY[5], NASTY[4], "macro_f1", verdict="failed", reason=reason)
    best = replace(made.row("int8-static"), name=NASTY[0])
    number = len(NASTY)
    return replace(
        made,
        rows=(*(r for r in made.rows if r.name != "int8-static"), best, bad),
        classes=NASTY,
        confusion={best.name: [[5] * number for _ in range(number)]},
        damage=tuple(
            ClassDamage(best.name, name, 30, 80.0, 79.0 - i) for i, name in enumerate(NASTY)
        ),
        flips=tuple(Flip(best.name, f"/{n}.png\udcff", n, NASTY[0], n, 50, 60) for n in NASTY),
        num_flips={best.name: len(NASTY)},
        notes=NASTY,
        machine={name: name for name in NASTY},
        data={"name": NASTY[0], "classes": list(NASTY)},
        config={name: {name: name} for name in NASTY},
    )


def thumbnail(seed: int) -> str:
    """A made-up solar cell: dark silicon with bus bars and, perhaps, a crack."""
    from PIL import Image, ImageDraw, ImageFilter

    pick = random.Random(seed)
    image = Image.new("L", (96, 96), pick.randint(90, 150))
    draw = ImageDraw.Draw(image)
    for x in (24, 48, 72):
        draw.rectangle((x - 1, 0, x + 1, 95), fill=pick.randint(40, 70))
    for _ in range(pick.randint(0, 3)):
        points = [(pick.randint(0, 95), pick.randint(0, 95)) for _ in range(4)]
        draw.line(points, fill=pick.randint(10, 60), width=pick.randint(1, 3))
    out = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(0.7)).save(out, "JPEG", quality=80)
    return base64.b64encode(out.getvalue()).decode()


def full(num_classes: int = 12, num_variants: int = 12) -> Comparison:
    """A dozen variants or more, as a search leaves them."""
    pick = random.Random(7)
    classes = tuple(
        ["functional", "균열 crack 🔥", *NASTY[:4], "finger interruption", "black core", "corner"]
        + [f"class {i}" for i in range(9, num_classes)]
    )[:num_classes]
    rows = [float_row("lite0-float", speedup_float=0.55), onnx_row(speedup_float=0.9)]
    rows.append(
        row(
            "lite0-openvino-float",
            runtime="openvino",
            precision="float32",
            method="export",
            score=86.25,
            drop=0.0,
            drop_low=-0.1,
            drop_high=0.1,
            latency_ms=7.9,
            size_bytes=13_490_000,
            speedup_float=1.0,
            speedup=1.82,
        )
    )
    for i in range(num_variants - 5):
        drop = pick.choice([-0.2, 0.05, 0.2, 0.4, 0.9, 1.8, 3.1])
        half = pick.uniform(0.3, 1.2)
        time = pick.uniform(3, 9)
        rows.append(
            row(
                _NAMES[i % 7] + (f"-{i}" if i > 6 else ""),
                score=86.25 - drop,
                drop=drop,
                drop_low=drop - half,
                drop_high=drop + half,
                val_drop=drop + pick.uniform(-0.2, 0.2),
                latency_ms=time,
                latency_ms_p95=time * 1.1,
                size_bytes=int(pick.uniform(2.2, 4.5) * 1e6),
                speedup=14.36 / time,
                speedup_float=7.9 / time,
                noisy=i == 3,
            )
        )
    rows.append(
        row(
            "per-tensor",
            score=41.2,
            drop=45.05,
            drop_low=41.0,
            drop_high=49.2,
            val_drop=44.0,
            latency_ms=4.1,
            speedup=3.5,
            speedup_float=1.93,
        )
    )
    rows.append(
        Row(
            "executorch-int8",
            "executorch",
            "int8",
            "executorch-xnnpack",
            "macro_f1",
            verdict="failed",
            reason="executorch is not installed: pip install 'pocketlens[executorch]'",
        )
    )
    made = compared(rows)
    names = [r.name for r in made.rows if r.score is not None]
    confusion = {}
    for name in names:
        confusion[name] = [
            [
                pick.randint(60, 90) if i == j else max(0, pick.randint(-12, 9))
                for j in range(num_classes)
            ]
            for i in range(num_classes)
        ]
    damage = []
    flips = []
    for name in names[1:]:
        for label in classes:
            before = pick.uniform(70, 98)
            after = before - pick.choice([0, 0, 0.4, 1.2, -0.8, 3, 9])
            damage.append(ClassDamage(name, label, pick.randint(5, 90), before, after))
        for i in range(30):
            truth, other = pick.sample(classes, 2)
            before = pick.choice([truth, truth, other])
            after = truth if before == other else other
            flips.append(
                Flip(
                    name,
                    f"test/{truth[:40]}/cell{i:04}.png",
                    truth,
                    before,
                    after,
                    pick.uniform(40, 80),
                    pick.uniform(40, 80),
                    thumbnail(i),
                )
            )
    return replace(
        made,
        classes=classes,
        confusion=confusion,
        damage=tuple(damage),
        flips=tuple(flips),
        num_flips=dict.fromkeys(names[1:], 61),
        notes=("12 photos could not be read and were left out; check lists them.",),
        config={
            "data": "photos",
            "max_drop": 0.5,
        },
    )
