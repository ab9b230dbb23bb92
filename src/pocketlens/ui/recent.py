"""What a session keeps so as not to ask for it again: the latest of it, up to a size."""

from __future__ import annotations

import json
from typing import Any, Final

#: Of one kind of things in one session. A map is 0.3 to 0.5 MB and a report 0.2 to 0.5, so about 40
#: of them stay, more than a screen shows; an answer to 1,000 photos is 0.9 MB as JSON and 3.6 in
#: memory, so answers take 65 MB at most.
MOST_BYTES: Final = 16_000_000


class Recent:
    """Values by key; where there is no room for all, those not used for longest are forgotten.

    Args:
        most: bytes of all values: as they are, or as JSON. The latest one stays whatever its size.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._bytes = 0
        self._values: dict[str, tuple[Any, int]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: str) -> Any:
        """The value, which is the latest used from now on; None where there is none (any more)."""
        if key not in self._values:
            return None
        self._values[key] = found = self._values.pop(key)
        return found[0]

    def put(self, key: str, value: Any) -> None:
        """Keep a value: bytes, or what is JSON."""
        self.drop(key)
        size = len(value) if isinstance(value, bytes) else len(json.dumps(value))
        self._values[key] = (value, size)
        self._bytes += size
        while self._bytes > self._most and len(self._values) > 1:
            self.drop(next(iter(self._values)))

    def drop(self, key: str) -> None:
        """Forget a value, if it is there."""
        _, size = self._values.pop(key, (None, 0))
        self._bytes -= size
