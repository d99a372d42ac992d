"""The distribution that this package comes in, and the command line that installs an extra of it.

Reads the record that pip keeps of how the distribution came here (PEP 610); asks no index. `a2d` on the public index is
somebody else's package, so a message that names a command names the place that this installation came from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["DISTRIBUTION", "extra", "update"]

DISTRIBUTION = "a2d-runtime"
"""Name on an index; Python imports it as `a2d`."""

ROOT = Path(__file__).parent.parent
"""Folder of the package: the repository's root in a checkout."""


def extra(name: str) -> str:
    """Command line that adds the extra `name` to this installation."""
    flag, source = _origin()
    if source is None:
        return f"pip install '{DISTRIBUTION}[{name}]'"
    if "://" in source:
        return f"pip install '{DISTRIBUTION}[{name}] @ {source}'"
    return f"pip install {flag}'{source}[{name}]'"


def update() -> str:
    """Advice for getting a newer release from the place that this one came from."""
    flag, source = _origin()
    if source is None:
        return f"pip install --upgrade {DISTRIBUTION}"
    return f"it came from {source}; get a newer {'checkout' if flag else 'one'} and install that"


def _origin() -> tuple[str, str | None]:
    """Pip's flag and the path or address that this distribution was installed from; None for an index."""
    from importlib import metadata  # noqa: PLC0415 - brings readers of mail, tables and archives, for a seldom message

    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return ("-e ", str(ROOT)) if (ROOT / "pyproject.toml").is_file() else ("", None)
    return ("", None) if text is None else _recorded(json.loads(text))


def _recorded(record: dict[str, Any]) -> tuple[str, str]:
    url, vcs = str(record["url"]), record.get("vcs_info")
    if vcs is not None:
        return "", f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    parts = urlsplit(url)
    if parts.scheme != "file":
        return "", url
    from urllib.request import url2pathname  # noqa: PLC0415 - brings HTTP and TLS, for a message that is seldom said

    return "-e " * bool(record.get("dir_info", {}).get("editable")), url2pathname(parts.path)
