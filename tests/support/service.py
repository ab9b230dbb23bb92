"""A service of a small network, asked in this process."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from pocketlens.service.api.app import create_app
from pocketlens.service.api.server import address_of, listen, server
from pocketlens.service.settings import Settings, User
from support.fake import fake_imported

ADDRESS = "http://127.0.0.1"
CLASSES = ("bars", "disc", "square")
TOKENS = {"ada": "token-of-ada", "bob": "token-of-bob", "op": "token-of-op"}


def settings(place: Path, **changes: Any) -> Settings:
    """Of a service in this folder, with a bundle made there; one thread, so nothing is measured."""
    bundle = place / "bundle"
    if not bundle.exists():
        fake_imported(bundle, CLASSES)
    return Settings(bundle=bundle, home=place / "home", threads=1, workers=1, **changes)


def with_tokens() -> dict[str, User]:
    """`tokens` of the settings for ada, bob and the operator op."""
    return {digest(token): User(name, name == "op") for name, token in TOKENS.items()}


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


@contextmanager
def client(given: Settings) -> Iterator[TestClient]:
    """Whoever asks sees answers, never an exception of the service's."""
    with TestClient(create_app(given), base_url=ADDRESS, raise_server_exceptions=False) as made:
        yield made


def photo(seed: int = 0, side: int = 32) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@contextmanager
def running(given: Settings) -> Iterator[str]:
    """A real server on a free port of this machine, in a thread; gives its address."""
    given = replace(given, port=0)
    with listen(given) as listener:
        started = threading.Event()
        made = server(create_app(given), given, started.set)
        thread = threading.Thread(target=made.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        assert started.wait(30)
        try:
            yield address_of(listener)
        finally:
            made.should_exit = True
            thread.join(30)
