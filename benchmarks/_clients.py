"""Clients that ask a server for one photo at a time, in a process of their own.

    python benchmarks/_clients.py URL CLIENTS REQUESTS < names of photos

Prints one JSON object: each answer's milliseconds, label and error, and the seconds of all.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_BOUNDARY = "pocketlens-benchmark"
_HEADERS = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


def main(url: str, num_clients: int, num_requests: int) -> int:
    """Ask, and print what came."""
    bodies = [_body(Path(name).read_bytes()) for name in sys.stdin.read().splitlines()]
    found: list[dict[str, Any]] = []
    turns = iter(range(num_requests))
    lock = threading.Lock()

    def client() -> None:
        place = urlsplit(url)
        assert place.hostname is not None
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None:
                return connection.close()
            number = turn % len(bodies)
            start = time.perf_counter()
            label, error = None, None
            try:
                connection.request("POST", f"{place.path}?{place.query}", bodies[number], _HEADERS)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 200:
                    label = _label(json.loads(text))
                else:
                    error = f"{answer.status} {text[:200]!r}"
            except (OSError, http.client.HTTPException, ValueError, LookupError) as problem:
                error = repr(problem)
                connection.close()
            latency_ms = 1e3 * (time.perf_counter() - start)
            found.append(
                {"photo": number, "latency_ms": latency_ms, "label": label, "error": error}
            )

    threads = [threading.Thread(target=client) for _ in range(num_clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"seconds": time.perf_counter() - start, "answers": found}))
    return 0


def _body(photo: bytes) -> bytes:
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="images"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + photo + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _label(answer: Any) -> Any:
    if "result" in answer:
        answer = answer["result"]["predictions"][0]
    if answer.get("error"):
        raise ValueError(answer["error"])
    return answer["label"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
