"""The status page: one file that needs nothing else, and may load nothing else."""

from __future__ import annotations

import base64
import functools
import re
from pathlib import Path

from tinsmith.runtime.hashing import light_sha256
from tinsmith.runtime.server.messages import Response

__all__ = ["status_page"]

_FILE = Path(__file__).with_name("page.html")


@functools.cache
def status_page() -> Response:
    """The page; a browser runs its own script and style, told by their hashes, and asks this server alone."""
    text = _FILE.read_text(encoding="utf-8")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashed(text, 'script')}",
            f"style-src {_hashed(text, 'style')}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    headers = (
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
    )
    return Response(status=200, body=text.encode(), content_type="text/html; charset=utf-8", headers=headers)


def _hashed(text: str, tag: str) -> str:
    """The source that Content Security Policy Level 3 knows an inline element by."""
    digest = light_sha256()
    (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
    digest.update(inside.encode())
    return f"'sha256-{base64.b64encode(digest.digest()).decode()}'"
