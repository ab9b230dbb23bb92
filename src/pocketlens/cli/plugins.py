"""`pocketlens plugins`."""

from __future__ import annotations

from pocketlens.cli._options import Json, print_json


def run(*, json: Json = False) -> None:
    """What is installed: dataset formats, networks, methods, runtimes, maps and trackers.

    Example: `pocketlens plugins`
    """
    from pocketlens.workflows.inventory import FAMILIES, inventory, options

    found = inventory()
    if json:
        print_json(dict(found))
        return
    for key, plugins in found.items():
        print(f"{key}:")
        for plugin in plugins:
            print(f"  {plugin['name']:16s} {plugin['summary']}")
            if not plugin["installed"]:
                print(f"  {'':16s} not installed: pip install 'pocketlens[{plugin['extra']}]'")
            flags = options(FAMILIES[key], plugin["name"])
            if flags:
                print(f"  {'':16s} " + " ".join(f"{flag} [{value}]" for flag, value in flags))
