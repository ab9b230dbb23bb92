"""Collecting what a person should look at: a count and a few examples of each kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final

from pocketlens.core.dataset import Problem
from pocketlens.core.text import one_line

NUM_EXAMPLES: Final = 10


class Findings:
    """Counts by kind; `messages` says for each kind what it means and how to mend it."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        self._messages = messages
        self._counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, example: str, *, count: int = 1) -> None:
        """Note one more of a kind; only the first few examples are kept."""
        assert kind in self._messages, kind
        self._counts[kind] += count
        if len(self._examples[kind]) < NUM_EXAMPLES:
            self._examples[kind].append(one_line(example))

    def problems(self) -> list[Problem]:
        """One `Problem` a kind, in the order of `messages`."""
        return [
            Problem(kind, message, self._counts[kind], tuple(self._examples[kind]))
            for kind, message in self._messages.items()
            if self._counts[kind]
        ]
