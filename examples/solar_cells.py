"""The demo: functional against defective solar cells, from photos to the model to ship.

The photos are electroluminescence images of the elpv-dataset package (Buerhop-Lutz et al. 2018,
CC BY-NC-SA 4.0); the first weights come from the package of ImageNet weights for EfficientNet
Lite0, so nothing is downloaded at run time.

    python examples/solar_cells.py [--out demo] [--epochs 6]
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import shutil
import sys
import time
from pathlib import Path

import pocketlens as pl

#: Deitsch et al. (2019), "Automatic classification of defective photovoltaic module cells in
#: electroluminescence images", Solar Energy 185: accuracy of their CNN, on their own split.
PUBLISHED_ACCURACY = 88.42


def main() -> int:
    """Run `fit` and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.monotonic()
    try:
        table_file = write_table(given.out / "photos")
        table = pl.fit(
            table_file,
            out=given.out / "run",
            model="tf_efficientnet_lite0",
            image_size=160,
            epochs=given.epochs,
            seed=given.seed,
            max_drop=0.5,
            overwrite=True,
        )
    except pl.UserError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    print(table)
    reference = next(row for row in table.rows if row.name == table.comparison.reference)
    scores = reference.metrics
    print(
        f"\nFloat model on {table.comparison.data['num_test']} test photos: "
        f"macro F1 {scores['macro_f1']:.1f} %, accuracy {scores['accuracy']:.1f} %. "
        f"Published: {PUBLISHED_ACCURACY:.1f} % accuracy (CNN of Deitsch et al. 2019, another "
        "split)."
    )
    print(f"Took {(time.monotonic() - started) / 60:.1f} minutes.")
    print(f"Ship   {table.best}\nReport {given.out / 'run' / 'report.html'}")
    return 0


def write_table(folder: Path, every: int = 1) -> Path:
    """Copy the photos out of the package and write their table: image, label, cell type.

    Args:
        every: take each so-manieth photo, for a quick look.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise pl.UserError("the photos are missing: pip install elpv-dataset")
    source = Path(spec.origin).parent / "data"
    table = folder / "labels.csv"
    if table.exists():
        return table
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = [line.split() for line in (source / "labels.csv").read_text().splitlines()][::every]
    for image, *_ in rows:
        shutil.copyfile(source / image, folder / image)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "cell_type", "defect_probability"])
        for image, probability, cell_type in rows:
            label = "defective" if float(probability) > 0.5 else "functional"
            writer.writerow([image, label, cell_type, probability])
    return table


if __name__ == "__main__":
    sys.exit(main())
