"""`/docs`: the API on one page that needs no script and no network."""

from __future__ import annotations

import html
import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

_STYLE: Final = """
:root{color-scheme:light dark;
--ink:#16202b;--soft:#566270;--line:#d5dae0;--back:#fff;--code:#f3f5f7;
--get:#1a6b3c;--post:#1b55a5;--delete:#a32a2a}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaee;--soft:#9aa7b4;--line:#35404b;--back:#11161b;
--code:#1b2229;--get:#6fcf97;--post:#8ab8f5;--delete:#f08b8b}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:60rem;
margin:0 auto;padding:1rem}
h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}
code,pre{font:14px/1.45 ui-monospace,monospace;background:var(--code);border-radius:4px}
code{padding:.1em .3em}pre{padding:.7rem;overflow-x:auto}
details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0;padding:.5rem .8rem}
summary{cursor:pointer}summary b{display:inline-block;min-width:4.5rem}
.get{color:var(--get)}.post{color:var(--post)}.delete{color:var(--delete)}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;
padding:.3rem .6rem .3rem 0;border-top:1px solid var(--line);overflow-wrap:anywhere}
p,.soft{color:var(--soft)}
"""


async def docs_page(request: Request) -> Response:
    """Every operation with its parameters, answers and an example."""
    document = request.app.openapi()
    return HTMLResponse(render(document, str(request.base_url).rstrip("/")))


def render(document: dict[str, Any], address: str) -> str:
    """The page of an OpenAPI document."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>pocketlens API</title><style>{_STYLE}</style><h1>pocketlens API</h1>",
        *(f"<p>{_prose(block)}</p>" for block in document["info"]["description"].split("\n\n")),
        "<p><a href=/openapi.json>openapi.json</a> for programs.</p>",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            by_tag.setdefault(tag, []).append(
                _operation(document, address, path, method, operation)
            )
    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    for tag in [name for name in described if name in by_tag] + sorted(
        set(by_tag) - set(described)
    ):
        parts.append(f"<h2>{_text(tag)}</h2><p>{_text(described.get(tag, ''))}</p>")
        parts += by_tag[tag]
    return "".join(parts)


def _operation(
    document: dict[str, Any], address: str, path: str, method: str, operation: dict[str, Any]
) -> str:
    rows = [
        (p["name"], p["in"], p.get("description") or p["schema"].get("description", ""))
        for p in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {})
    for kind, content in body.items():
        schema = _resolved(document, content["schema"])
        for name, one in schema.get("properties", {}).items():
            rows.append((name, kind, one.get("description", "")))
    table = "".join(
        f"<tr><td><code>{_text(name)}</code><td class=soft>{_text(place)}<td>{_prose(words)}"
        for name, place, words in rows
    )
    answers = "".join(
        f"<tr><td>{status}<td>{_prose(answer.get('description', ''))}"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<details id='{_text(operation['operationId'])}'><summary>"
        f"<b class={method}>{method.upper()}</b> <code>{_text(path)}</code> "
        f"{_text(operation.get('summary', ''))}</summary>"
        f"<p>{_prose(operation.get('description', ''))}</p>"
        f"<pre>{_text(_curl(document, address, path, method, operation))}</pre>"
        + (f"<h4>Parameters</h4><table>{table}</table>" if table else "")
        + f"<h4>Answers</h4><table>{answers}</table></details>"
    )


def _curl(
    document: dict[str, Any], address: str, path: str, method: str, operation: dict[str, Any]
) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    plain = method == "get" or (method == "post" and body)
    words = ["curl", *([] if plain else ["-X", method.upper()])]
    if operation.get("security"):
        words += ["-H", "'Authorization: Bearer TOKEN'"]
    if "multipart/form-data" in body:
        properties = body["multipart/form-data"]["schema"].get("properties", {})
        name = next(iter(properties), "images")
        words += ["-F", f"{name}=@photo.jpg"]
    elif "application/json" in body:
        schema = body["application/json"]["schema"]
        fields = _resolved(document, schema).get("required", ())
        properties = _resolved(document, schema).get("properties", {})
        example = {name: properties[name].get("examples", [name.upper()])[0] for name in fields}
        words += ["-H", "'Content-Type: application/json'", "-d", f"'{json.dumps(example)}'"]
    return " ".join([*words, f"'{address}{path}'"])


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: Any = document
    if "$ref" not in schema:
        return schema
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _prose(words: str) -> str:
    """Text whose parts in backticks are code."""
    parts = _text(words).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _text(words: str) -> str:
    return html.escape(str(words))
