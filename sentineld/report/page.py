"""Page: an account as one HTML file that loads nothing, and runs nothing but its own two scripts.

What agents wrote stands in a script element of a type that no browser runs, and ``report.js`` makes text of
it, never markup. The policy in the page's head names our scripts and styles by their hashes, and allows no
connection to anywhere.
"""

import base64
import hashlib
import json
from importlib.resources import files
from string import Template
from typing import Any

_ASSETS = files("sentineld").joinpath("report", "assets")


def page(account: dict[str, Any]) -> bytes:
    """Return the file for an account."""
    library, script = _asset("uPlot.iife.min.js"), _asset("report.js")
    library_style, style = _asset("uPlot.min.css"), _asset("report.css")
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; "
        f"style-src {_hash(library_style)} {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    return (
        Template(_asset("report.html"))
        .substitute(
            policy=policy,
            library=library,
            library_style=library_style,
            licence=_asset("uPlot.LICENSE"),
            script=script,
            style=style,
            data=embedded(account),
        )
        .encode("utf-8")
    )


def embedded(document: object) -> str:
    """Return JSON that can end no script element, nor begin a comment or an entity in one."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _asset(name: str) -> str:
    return _ASSETS.joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
