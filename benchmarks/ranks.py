"""Does the same table, measured twice, rank its rows in the same order wherever it claims a rank?

    python benchmarks/ranks.py BUNDLE BUNDLE … --data DATA [--times 2]

A row claims to be faster than another where the places of the two, as ranges, don't overlap. Each
pair that one measurement claims must not be claimed the other way round by another. Exit code 1
where one is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import pocketlens as pl
from pocketlens.core.comparison import Row


def main() -> int:
    """Measure, count, print; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--times", type=int, default=2)
    given = parser.parse_args()
    claims = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.times):
            table = pl.compare(given.bundles, given.data, out=Path(folder) / str(number))
            claims.append(set(_claims(table.rows)))
            told = ", ".join(
                f"{row.name} {row.rank_best}–{row.rank_worst}{' (noisy)' if row.noisy else ''}"
                for row in sorted(table.rows, key=lambda row: row.latency_ms or float("inf"))
            )
            print(f"{number + 1}: {told}")
    broken = {
        tuple(sorted(pair))
        for one, other in combinations(claims, 2)
        for pair in one
        if pair[::-1] in other
    }
    pairs = len(given.bundles) * (len(given.bundles) - 1) // 2
    print(f"claimed of {pairs} pairs: {', '.join(str(len(found)) for found in claims)}")
    print(f"claimed both ways: {sorted(broken) or 'none'}")
    return 1 if broken else 0


def _claims(rows: tuple[Row, ...]) -> list[tuple[str, str]]:
    """Pairs of which the first is said to be the faster."""
    timed = [row for row in rows if row.rank_best is not None]
    return [
        (one.name, other.name)
        for one in timed
        for other in timed
        if (one.rank_worst or 0) < (other.rank_best or 0)
    ]


if __name__ == "__main__":
    sys.exit(main())
