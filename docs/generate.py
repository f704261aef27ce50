"""Write the reference pages that come from the code: docs/configuration.md.

python docs/generate.py           write them
python docs/generate.py --check   exit 1 where one is out of date
"""

import sys
from pathlib import Path

from sentineld.config import Duration, duration_text, options

DOCS = Path(__file__).parent

_CONFIGURATION = """# Configuration

One TOML file; every option has a default that works. It is found at the path of `--config`, else at
`/etc/sentineld/sentineld.toml`, else at `~/.config/sentineld/sentineld.toml`. `sentineld init` writes a
starter file, `sentineld check` tests one, and SIGHUP makes a running daemon read it again (it keeps the old
one, and says why, where the new one is faulty).

Order: defaults, file, environment, flags of the command line. Unknown options are refused, and the nearest
name is told. Durations are a number with a unit: `250ms`, `30s`, `15m`, `1h`, `2d`, `1w`.

This page is generated from the declarations in `sentineld/config.py`.

| option | type | default | meaning | environment |
|---|---|---|---|---|
"""


def configuration() -> str:
    """Return the page of all options."""
    rows = []
    for option in options():
        default = option.default
        if isinstance(default, Duration):
            default = duration_text(default)
        shown = f"`{default}`" if default not in ("", []) else ""
        rows.append(
            f"| `{option.key}` | {option.type_name} | {shown} "
            f"| {option.description} | `{option.variable}` |\n"
        )
    return _CONFIGURATION + "".join(rows)


def main() -> int:
    """Write or check every page."""
    stale = 0
    for name, text in {"configuration.md": configuration()}.items():
        path = DOCS / name
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text() != text:
                print(f"{path} is out of date: python docs/generate.py")
                stale += 1
        else:
            path.write_text(text)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
