"""What is deployed: the image has no torch and no root, and every flag exists."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pocketlens import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
#: What trains; none of it belongs where only answers are given.
HEAVY = {"torch", "torchvision", "timm", "accelerate", "scikit-learn", "matplotlib", "onnxscript"}
OURS = ("api", "worker", "trainer", "page")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def recipe() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their words, lines joined, comments left out."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", " ").splitlines()
    pairs = [line.partition(" ") for line in joined if line.strip()]
    return [(word, rest.strip()) for word, _, rest in pairs]


def of(recipe: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for name, rest in recipe if name == word]


def packages(extras: str) -> set[str]:
    """Names of all that an installation with these extras asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    left = [*project["dependencies"], f"pocketlens[{extras}]"]
    found = set()
    while left:
        name, inner = re.match(r"([\w.-]+)(?:\[([^\]]+)\])?", left.pop()).groups()
        if name != "pocketlens":
            found.add(name)
            continue
        for extra in inner.split(","):
            left += project["optional-dependencies"][extra.strip()]
    return found


def argument(recipe: list[tuple[str, str]], name: str) -> str:
    (found,) = {arg.partition("=")[2] for arg in of(recipe, "ARG") if arg.startswith(f"{name}=")}
    return found


def test_what_serves_has_no_torch(recipe: list[tuple[str, str]], compose: dict[str, Any]) -> None:
    wanted = packages(argument(recipe, "EXTRAS"))
    assert wanted >= {"fastapi", "psycopg", "s3fs", "onnxruntime"}
    assert not wanted & HEAVY
    for name in ("api", "page"):
        args = compose["services"][name]["build"].get("args", {})
        assert not packages(args.get("EXTRAS", argument(recipe, "EXTRAS"))) & HEAVY
    trainer = compose["services"]["trainer"]["build"]["args"]
    assert packages(trainer["EXTRAS"]) >= {"torch", "timm", "fastapi", "psycopg", "s3fs"}
    assert trainer["INDEX"].endswith("/cpu")
    assert compose["services"]["trainer"]["profiles"] == ["training"]


def test_the_image_runs_as_nobody_in_particular(recipe: list[tuple[str, str]]) -> None:
    words = [word for word, _ in recipe]
    assert of(recipe, "USER") == ["10001:10001"]
    # Nothing is installed, and no root needed, behind it.
    assert "RUN" not in words[words.index("USER") :]
    assert words.count("FROM") == 2
    assert "HEALTHCHECK" in words
    assert "/healthz" in of(recipe, "HEALTHCHECK")[0]
    assert of(recipe, "STOPSIGNAL") == ["SIGTERM"]
    (volume,) = of(recipe, "VOLUME")
    assert f"POCKETLENS_HOME={volume}" in " ".join(of(recipe, "ENV"))
    last = max(i for i, word in enumerate(words) if word == "FROM")
    copies = [rest for i, (word, rest) in enumerate(recipe) if word == "COPY" and i > last]
    assert copies == ["--from=build /opt/pocketlens /opt/pocketlens"]


def test_nothing_but_the_source_is_sent_to_the_builder(recipe: list[tuple[str, str]]) -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {name for rest in of(recipe, "COPY") for name in rest.split()[:-1]} - {
        "--from=build",
        "/opt/pocketlens",
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in allowed)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_locked_down(name: str, compose: dict[str, Any]) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "user" not in service, "the image's own"
    assert "privileged" not in service
    assert any(":/var/lib/pocketlens" in volume for volume in service["volumes"])


def test_each_service_says_whether_it_is_well(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        # The image's own check asks the API's port.
        assert name == "api" or "healthcheck" in service, name
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert services[needed].get("healthcheck") != {"disable": True}, needed


def test_ports_are_this_machines_own_unless_told_otherwise(compose: dict[str, Any]) -> None:
    published = [p for service in compose["services"].values() for p in service.get("ports", ())]
    assert len(published) == 2, "the service and the page; neither database nor store"
    assert all(port.startswith("${ADDRESS:-127.0.0.1}:") for port in published)


def test_no_secret_stands_in_a_file_of_ours(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    lines = (DEPLOY / "example.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert asked == set(given)
    for name in ("POSTGRES_PASSWORD", "STORE_KEY", "STORE_SECRET"):
        assert given[name] == ""
        assert not re.search(rf"\${{{name}(?!:\?)", text), f"{name}: empty must be refused"
    words = [
        word for service in compose["services"].values() for word in service.get("command", ())
    ]
    assert not any("${" in str(word) for word in words), "a command line is seen by all"
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/deploy/.env", "/deploy/tokens*"} <= set(ignored)


def commands(recipe: list[tuple[str, str]], compose: dict[str, Any]) -> list[list[str]]:
    """Words behind `pocketlens` of all that is started."""
    found = [[str(w) for w in compose["services"][name]["command"]] for name in OURS]
    found.append(yaml.safe_load(of(recipe, "CMD")[0]))
    unit = (DEPLOY / "pocketlens.service").read_text()
    found += [line.split()[1:] for line in unit.splitlines() if line.startswith("ExecStart=")]
    guide = (ROOT / "docs" / "deploy.md").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in guide.splitlines()]
    found += [shlex.split(line)[1:] for line in lines if line.startswith("pocketlens ")]
    return found


def test_every_flag_exists(
    recipe: list[tuple[str, str]], compose: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told = commands(recipe, compose)
    assert len(told) >= 7
    for words in told:
        assert words[0] in cli.VERBS
        assert cli.run([words[0], "--help"]) == 0
        text = capsys.readouterr().out
        for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert re.search(rf"{re.escape(flag)}(?![\w-])", text), f"{words[0]} has no {flag}"
