"""A worker that also knows the kinds of jobs in `_job_kinds`; settings come on standard input."""

from pathlib import Path

from pocketlens.service import kinds
from pocketlens.service.worker_process import main

if __name__ == "__main__":
    kinds.__path__.append(str(Path(__file__).parent / "_job_kinds"))
    main()
