#!/bin/sh
# Makes .venv with everything that `make demo` and `make test` need, or finds that it is ready.
#
# It is ready when its stamp, written last, holds the key of what it was made from: the project's
# requirements, constraints.txt and the Python. A .venv without a stamp was interrupted and is made
# again; one with another key is brought up to date.
#
# POCKETLENS_VENV_CACHE=DIR keeps the requirements (several GB) in DIR/KEY, outside the checkout, and
# makes .venv a thin layer over them; a later fresh clone is then ready in seconds. CI uses it.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

without_venv=
python=
for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3; do
    # A name on the PATH may be a shim that does not run, so it is asked.
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
    if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        python=$candidate
        break
    fi
    without_venv=${without_venv:-$candidate}
done
if [ -z "$python" ] && [ -n "$without_venv" ]; then
    say "error: $without_venv has no venv module; on Debian and Ubuntu: apt-get install python3-venv"
    exit 2
elif [ -z "$python" ]; then
    say "error: no Python 3.11 or newer found; install one, or name it: make test PYTHON=/path/to/python3"
    exit 2
fi

key=$("$python" - <<'PY'
import hashlib, json, pathlib, platform, sys, tomllib
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text(encoding="utf-8"))
facts = [
    project["project"].get("dependencies"),
    project["project"].get("optional-dependencies"),
    project["project"].get("scripts"),
    project["build-system"],
    pathlib.Path("constraints.txt").read_text(encoding="utf-8"),
    sys.version,
    sys.base_prefix,
    platform.machine(),
]
print(hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16])
PY
)

# One at a time: two runs in one checkout, or two checkouts over one cache, wait for each other.
if [ -z "${POCKETLENS_ENVIRONMENT_LOCKED:-}" ] && command -v flock >/dev/null 2>&1; then
    lock=.venv.lock
    if [ -n "${POCKETLENS_VENV_CACHE:-}" ]; then
        mkdir -p "$POCKETLENS_VENV_CACHE"
        lock=$POCKETLENS_VENV_CACHE/lock
    fi
    export POCKETLENS_ENVIRONMENT_LOCKED=1
    exec flock "$lock" sh scripts/environment.sh
fi

stamp=.venv/pocketlens-key
wanted=$key
[ -z "${POCKETLENS_VENV_CACHE:-}" ] || wanted="$key over $POCKETLENS_VENV_CACHE"
complete=${POCKETLENS_VENV_CACHE:+$POCKETLENS_VENV_CACHE/$key/complete}
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && [ -f "${complete:-$stamp}" ] &&
    .venv/bin/python -c '' >/dev/null 2>&1; then
    exit 0
fi

pip_install() { # PYTHON ARGUMENT...
    with=$1
    shift
    "$with" -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt "$@"
}

if [ -z "${POCKETLENS_VENV_CACHE:-}" ]; then
    # Made in place: a venv can't be moved. Bringing it up to date is only safe for the same Python.
    if [ ! -f "$stamp" ] || ! .venv/bin/python -c '' >/dev/null 2>&1 ||
        [ "$(.venv/bin/python -VV 2>&1)" != "$("$python" -VV 2>&1)" ] || grep -q over "$stamp"; then
        rm -rf .venv
        say "installing into .venv with $("$python" -V): about 3 minutes and 8 GB, the first time only"
        "$python" -m venv .venv
    else
        say "bringing .venv up to date"
        rm -f "$stamp"
    fi
    pip_install .venv/bin/python -e '.[dev]'
else
    store=$POCKETLENS_VENV_CACHE/$key
    if [ ! -f "$store/complete" ]; then
        # Stores of other keys that nobody used for three days only take up the disk.
        find "$POCKETLENS_VENV_CACHE" -mindepth 2 -maxdepth 2 -name complete -mtime +2 |
            while read -r old; do rm -rf "$(dirname "$old")"; done
        rm -rf "$store"
        say "making $store with $("$python" -V) (a few minutes and several GB)"
        "$python" -m venv "$store"
        pip_install "$store/bin/python" -e '.[dev]'
        # The checkout is installed in the thin layer, not here.
        "$store/bin/python" -m pip uninstall --quiet --yes pocketlens
        : >"$store/complete"
    fi
    touch "$store/complete"
    rm -rf .venv
    "$python" -m venv .venv
    site=$("$store/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    own=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf "import site; site.addsitedir(r'%s')\n" "$site" >"$own/requirements.pth"
    pip_install .venv/bin/python --no-deps -e .
fi
printf '%s\n' "$wanted" >"$stamp"
