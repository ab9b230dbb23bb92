"""The command line: a thin file a verb, loaded only when it is called."""

from __future__ import annotations

import os
import signal
import sys
import threading
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyclopts import App

#: Verb -> what it does; the verb's file in this folder has the same name, with `_` appended
#: where Python keeps the name for itself.
VERBS: Final = {
    "fit": "The main job: check, train, shrink, compare, report.",
    "check": "Is this data ready? Counts, unreadable and duplicate files, leaks, tiny classes.",
    "explore": "Pictures of the data, and whether its classes can be told apart.",
    "train": "Train a network on labelled photos; leaves a float bundle.",
    "zoo": "Many architectures side by side, counted or trained on the same photos.",
    "sweep": "Search for the training settings that score best on validation photos.",
    "import": "Make a bundle of a ready-trained network as it is.",
    "strip": "A checkpoint's model alone, as a bundle.",
    "compress": "Make one compression step on a bundle.",
    "export": "The same model for another runtime.",
    "shrink": "Try chains of compression steps on a float bundle; keep what is proven.",
    "compare": "One table for any number of bundles.",
    "evaluate": "The scores of one bundle.",
    "predict": "Predict images, folders or patterns.",
    "explain": "Where on its photo an answer comes from, for one bundle or several side by side.",
    "download": "Fetch a public data set in its usual layout.",
    "serve": "Answer photos over HTTP, with a worker for what takes longer.",
    "worker": "Work on a service's jobs, beside `serve` or on another machine.",
    "ui": "The web page of a running service.",
    "plugins": "What is installed, and what each missing part needs.",
}


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with 0, 2 (the user can mend it) or 1 (a fault of ours)."""
    sys.unraisablehook = _heard(sys.unraisablehook)
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def _heard(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Python drops what is raised while an object is deleted; a Ctrl-C must come again after it."""

    def look(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(0.01, _interrupt).start()
        else:
            hook(unraisable)

    return look


def _interrupt() -> None:
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGINT)
    else:  # wakes the main thread, too, where it waits
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def run(argv: list[str]) -> int:
    """Run one command line and give its exit code; nothing but Ctrl-C gets out."""
    from cyclopts import CycloptsError

    from pocketlens.core.directory import NO_ROOM
    from pocketlens.core.errors import UserError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files may hold bytes that are no text
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in argv
    words = [word for word in argv if word != "--debug"]
    try:
        words, settings = _take_config(words)
        app = make_app(settings, asked=words[0] if words else None)
        app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except (UserError, CycloptsError) as error:
        if debug:
            raise
        _complain(" ".join(str(error).split()))
        return 2
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    except KeyboardInterrupt:
        _complain(
            "interrupted; what is complete stays, and fit, train, shrink and sweep --resume it"
        )
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python must not complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            where = error.filename or error.filename2 or "the disk"
            _complain(f"can't write to {where}: {error.strerror}; make room or name another --out")
            return 2
        _complain(
            f"this is a fault of pocketlens, not yours: {type(error).__name__}: {error} "
            "(run again with --debug and report it)"
        )
        return 1
    return 0


def make_app(settings: dict[str, Any] | None = None, *, asked: str | None = None) -> App:
    """The application with all verbs, none of them loaded yet.

    Args:
        settings: from `--config`; the flags' names, in either spelling.
        asked: the verb that is called, whose help is its docstring; the others are listed with
            their summary, without being loaded.
    """
    from cyclopts import App
    from cyclopts.config import Dict

    from pocketlens.extras import versions

    config = Dict(settings, source="--config", use_commands_as_keys=False) if settings else None
    app = App(
        name="pocketlens",
        help="Train an image classifier on your own photos, shrink it until it fits, and prove "
        "what it can still do.\n\nStart with `pocketlens fit PHOTOS --out RUN`, where PHOTOS has "
        "one folder a class. Every verb takes `--config FILE.yaml` (keys are the flags' names) "
        "and `--debug`.",
        version=lambda: versions()["pocketlens"],
        config=config,
        help_format="markdown",
        suppress_keyboard_interrupt=False,  # `run` says what is left
    )
    for verb, summary in VERBS.items():
        module = f"{verb}_" if verb == "import" else verb
        listed = None if verb == asked else summary
        app.command(f"pocketlens.cli.{module}:run", name=verb, help=listed)
    return app


def _take_config(words: list[str]) -> tuple[list[str], dict[str, Any] | None]:
    """Take `--config FILE` out of the words and read the file."""
    from pocketlens.core.errors import UserError

    left: list[str] = []
    path: str | None = None
    iterator = iter(words)
    for word in iterator:
        if word == "--config":
            path = next(iterator, None)
            if path is None:
                raise UserError("--config needs a YAML file")
        elif word.startswith("--config="):
            path = word.partition("=")[2]
        else:
            left.append(word)
    if path is None:
        return left, None
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            settings = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise UserError(f"the configuration {path} can't be read: {reason}") from error
    if settings is None:
        return left, None
    if not isinstance(settings, dict):
        raise UserError(f"{path} must hold flags' names with their values")
    return left, {str(key).replace("_", "-"): value for key, value in settings.items()}


def _complain(message: str) -> None:
    sys.stderr.write(f"pocketlens: {message}\n")
