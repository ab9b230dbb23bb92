"""One file a change of the tables; `scripts/migration.py` writes a new one."""
