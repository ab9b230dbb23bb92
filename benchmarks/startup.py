"""Time of `pocketlens --help`, beside a bare interpreter that imports rich; in turns.

python benchmarks/startup.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import rich'": ["-c", "import rich.console"],
    "pocketlens --help": ["-m", "pocketlens", "--help"],
    "pocketlens train --help": ["-m", "pocketlens", "train", "--help"],
}


def main() -> None:
    """Print the median, the fastest and the slowest run of each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, words in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
            times[name].append((time.perf_counter() - start) * 1000)
    for name, found in times.items():
        middle = statistics.median(found)
        print(f"{name:26s} {middle:6.0f} ms   ({min(found):.0f} to {max(found):.0f})")


if __name__ == "__main__":
    main()
