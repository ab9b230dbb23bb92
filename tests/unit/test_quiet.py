"""What libraries say is kept from the user, and the process can speak again afterwards."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

from pocketlens.runtimes._quiet import quiet


def test_two_threads_that_are_quiet_leave_nothing_redirected() -> None:
    before = (sys.stdout, sys.stderr, logging.root.manager.disable, os.fstat(2).st_ino)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            entered.set()
            assert leave.wait(10)

    thread = threading.Thread(target=other)
    with quiet():
        thread.start()
        assert entered.wait(10)
    assert os.fstat(2).st_ino != before[3], "the other is still quiet"
    leave.set()
    thread.join(10)
    assert (sys.stdout, sys.stderr, logging.root.manager.disable, os.fstat(2).st_ino) == before


def test_what_is_said_meanwhile_is_kept_and_told() -> None:
    code = """
import os, sys
from pocketlens.runtimes._quiet import quiet
with quiet() as last_line:
    print("one"); print("two", file=sys.stderr)
    os.write(2, b"[method.cpp:12] it broke\\n")
    with quiet() as inner:
        assert inner() == "it broke"
    os.write(2, b"[method.cpp:13] again\\n")
    assert last_line() == "again", last_line()
print("out"); print("err", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
