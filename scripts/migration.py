"""Write the migration from the tables that there are to those of `service/tables.py`.

`python scripts/migration.py "what changes"`; read what it made before you commit it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory

from pocketlens.service.database import open_database
from pocketlens.service.migrate import configuration, migrate


def main() -> None:
    """Make an SQLite database as it was, and compare."""
    config = configuration()
    scripts = ScriptDirectory.from_config(config)
    number = len(list(scripts.walk_revisions())) + 1
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{folder}/as_it_was.db")
        if number > 1:
            migrate(engine)
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            text = " ".join(sys.argv[1:])
            made = command.revision(config, text, autogenerate=True, rev_id=f"{number:04d}")
        engine.dispose()
    path = Path(made.path)
    kept = [line for line in path.read_text("utf-8").splitlines(True) if "# ###" not in line]
    path.write_text("".join(kept), "utf-8")
    for verb in (["format", "-q"], ["check", "--fix", "-q"]):
        subprocess.run([Path(sys.executable).with_name("ruff"), *verb, path], check=True)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
