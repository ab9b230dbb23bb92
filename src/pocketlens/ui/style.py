"""How the page looks beyond Streamlit's themes; colours are made from the theme's own."""

from __future__ import annotations

from typing import Any, Final

from PIL import Image, ImageDraw

from pocketlens.ui.words import Language, say

#: Configuration of Streamlit: colours for bright and dark browsers.
THEME: Final[dict[str, Any]] = {
    "theme.light.primaryColor": "#0b6e75",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f1f5f5",
    "theme.light.textColor": "#17262a",
    "theme.light.borderColor": "#cbd8d9",
    "theme.dark.primaryColor": "#3fb8bf",
    "theme.dark.backgroundColor": "#11191b",
    "theme.dark.secondaryBackgroundColor": "#1b2628",
    "theme.dark.textColor": "#e6eeee",
    "theme.dark.borderColor": "#3a4a4d",
    "theme.showWidgetBorder": True,
}

_CSS: Final = """
:root { --pl-line: color-mix(in srgb, currentColor 22%, transparent); }
.block-container { max-width: 60rem; padding-top: 3.5rem; }
.pl-name { font-size: 1.6rem; line-height: 1.25; margin: 0; padding: 0; overflow-wrap: anywhere; }
.pl-faint { font-size: 1rem; font-weight: 400; opacity: .7; }
.pl-scroll { overflow-x: auto; max-width: 100%; }
.pl-table { border-collapse: collapse; width: 100%; }
.pl-table th, .pl-table td {
  border-bottom: 1px solid color-mix(in srgb, currentColor 22%, transparent);
  padding: .35rem .75rem .35rem 0; text-align: left; vertical-align: top;
}
.pl-pairs td, .pl-pairs th { overflow-wrap: anywhere; }
.pl-pairs th { width: 38%; }
.pl-wide td, .pl-wide thead th { max-width: 24rem; }
.pl-wide td { overflow-wrap: break-word; }
.pl-table thead th { white-space: nowrap; }
.pl-table th { font-weight: 600; }
.pl-pairs th::first-letter { text-transform: uppercase; }
.pl-bar { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; margin-bottom: .5rem; }
.pl-label { overflow-wrap: anywhere; }
.pl-figure { font-variant-numeric: tabular-nums; }
.pl-rail {
  grid-column: 1 / -1; height: .5rem; border-radius: .25rem;
  background: color-mix(in srgb, currentColor 14%, transparent);
}
.pl-fill {
  height: 100%; border-radius: .25rem; min-width: 2px;
  background: color-mix(in srgb, currentColor 45%, transparent);
}
.pl-first { background: light-dark(#0b6e75, #3fb8bf); }
@media (max-width: 640px) {
  h1 { font-size: 2rem !important; }
  .pl-wide, .pl-wide tbody, .pl-wide tr, .pl-wide td { display: block; }
  .pl-wide thead { display: none; }
  .pl-wide tr { padding: .5rem 0; }
  .pl-wide tr { border-bottom: 1px solid color-mix(in srgb, currentColor 22%, transparent); }
  .pl-wide td { border: 0; padding: .1rem 0; display: grid; grid-template-columns: 38% 1fr; }
  .pl-wide td:empty { display: none; }
  .pl-wide td::before { content: attr(data-head); opacity: .7; padding-right: .5rem; }
  .block-container { padding-left: 1rem; padding-right: 1rem; }
}
"""

#: Streamlit's own English, which it offers no other words for.
_THEIRS: Final = """
[data-testid="stFileUploaderDropzoneInstructions"] > *,
[data-testid="stFileUploaderDropzone"] button [data-testid="stMarkdownContainer"] p {{
  display: none;
}}
[data-testid="stFileUploaderDropzone"] button [data-testid="stMarkdownContainer"]::after {{
  content: "{upload}";
}}
[data-testid="stFileUploaderDropzoneInstructions"]::after {{
  content: "{limit}"; font-size: .875rem; opacity: .7;
}}
[data-testid="stCameraInputButton"] {{ font-size: 0; }}
[data-testid="stCameraInputButton"]::after {{ content: "{take}"; font-size: 1rem; }}
"""


def favicon() -> Image.Image:
    """A lens; drawn, since an icon by name would be fetched from elsewhere."""
    image = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(image)
    draw.line((42, 42, 58, 58), fill="#0b6e75", width=10)
    draw.ellipse((6, 6, 46, 46), outline="#0b6e75", width=8)
    return image


def sheet(language: Language, max_mb: int) -> str:
    """The style sheet as HTML, with Streamlit's own words in the reader's language."""
    theirs = _THEIRS.format(
        upload=say(language, "upload_button"),
        limit=say(language, "upload_limit", size=max_mb),
        take=say(language, "take_photo"),
    )
    return f"<style>{_CSS}{theirs}</style>"


def spoken(language: Language) -> str:
    """A script that tells the browser, and so screen readers, which language the page is in."""
    return f"<script>document.documentElement.lang = '{language}';</script>"
