"""Places of files for tests: a directory, and a real S3 server on loopback."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

#: For `pytest.mark.parametrize`.
PLACES = ("local", "s3")


@contextmanager
def s3_server() -> Iterator[str]:
    """A moto server; `AWS_ENDPOINT_URL` and keys are set while it runs.

    Yields:
        The URL of an empty bucket.
    """
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with mock.patch.dict(os.environ, keys):
        try:
            bucket = f"b{uuid.uuid4().hex}"
            boto3.client("s3").create_bucket(Bucket=bucket)
            yield f"s3://{bucket}"
        finally:
            server.stop()


@contextmanager
def place_url(kind: str, folder: Path) -> Iterator[str]:
    """URL of an empty place of the kind."""
    if kind == "local":
        yield str(folder / "files")
        return
    with s3_server() as url:
        yield f"{url}/some/prefix"
