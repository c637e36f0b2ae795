"""Who may ask: known hosts, the token in the address, no other site; and the headers that confine the page.

A page of another site cannot read what a server on this machine answers, but it can send requests there, and
with a name of its own that it lets point to 127.0.0.1 (DNS rebinding) it could read answers too.
"""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SAFE_METHODS = ("GET", "HEAD")


@dataclass(frozen=True)
class Rules:
    """The hosts that requests may name, and the token that is the first part of every address.

    any_address: whether an IP address is always a known host: no name, so nothing for DNS to rebind.
    """

    hosts: frozenset[str] = LOOPBACK
    any_address: bool = False
    token: str | None = None


class Guard:
    """Answers what may not pass with an error in one line, and everything else with `app`."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = self._refusal(scope) or self._redirection(scope)
        if answer is None:
            await self._app(self._without_token(scope), receive, _with_headers(send))
        else:
            await answer(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._knows(host):
            known = "an IP address or the host" if self._rules.any_address else "the host"
            return _refused(f"expected {known} that glesam-view printed, found {host or 'none'}")
        if self._rules.token is not None and not self._has_token(scope["path"]):
            return _refused("expected the address with the token that glesam-view printed")
        if _is_foreign(scope["method"], host, headers):
            return _refused("expected a request of this page, found one of another site")
        return None

    def _knows(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if "@" in host or "/" in host:
            return False
        return name in self._rules.hosts or (self._rules.any_address and _is_address(name))

    def _has_token(self, path: str) -> bool:
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        return secrets.compare_digest(first.encode(), str(self._rules.token).encode())

    def _redirection(self, scope: Scope) -> Response | None:
        """Returns the way to the page where the slash after the token is missing: its links are relative."""
        token = self._rules.token
        return RedirectResponse(f"/{token}/") if token is not None and scope["path"] == f"/{token}" else None

    def _without_token(self, scope: Scope) -> Scope:
        if self._rules.token is None:
            return scope
        path = scope["path"][len(self._rules.token) + 1 :]
        return {**scope, "path": path, "raw_path": path.encode()}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_foreign(method: str, host: str, headers: Headers) -> bool:
    """Returns whether a page of another site sent a request; programs send none of these headers."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    if method in _SAFE_METHODS:
        return site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate"
    return site not in ("same-origin", "none") or origin not in (None, f"http://{host}", f"https://{host}")


def _refused(message: str) -> Response:
    return JSONResponse({"error": message}, 403)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending
