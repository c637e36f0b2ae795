"""Binds an address, prints it, and serves the page until Ctrl-C."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from ..errors import InputError
from ..tools.console import model_line
from ..tools.run.session import Model
from .app import opened_app
from .guard import LOOPBACK, Rules
from .library import Library
from .worker import OpenModel

_ANYWHERE = {"0.0.0.0", "::"}
_OUTWARD = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation, to which no packet is sent: they show which of our own leads outside."""
_MOST_CONNECTIONS = 64
_GRACE_S = 2


@dataclass(frozen=True)
class Site:
    """A bound socket, the addresses of the page there, and who may ask."""

    listening: socket.socket
    addresses: tuple[str, ...]
    rules: Rules


def view(
    path: Path | None, model: Model, host: str, port: int, browser: bool, say: Callable[..., None]
) -> None:
    """Serves the page for a picture, a folder, or samples alone, until Ctrl-C; `say` takes lines to print.

    Raises InputError where the address cannot be bound, ImageError or InputError as Library.of does,
    BundleError and BackendError as Predictor.from_bundle does.
    """
    library = Library.of(path)
    for line in library.left_out:
        say(line, err=True)

    def report(opened: OpenModel) -> None:
        say(model_line(opened.bundle, f"{opened.backend} ({opened.reason})"), err=True)

    with (
        bound(host, port) as site,
        opened_app(model, library, site.rules, report) as app,
        serving(app, site.listening),
    ):
        try:
            say(*(f"open {address}" for address in site.addresses))
            say("Ctrl-C stops it")
            if browser and has_display():
                webbrowser.open(site.addresses[0])
            threading.Event().wait()
        except KeyboardInterrupt:
            say("stopped")


@contextmanager
def bound(host: str, port: int) -> Iterator[Site]:
    """Yields the bound socket of the page; port 0 is any free one. A host others can reach gets a token.

    Raises InputError where the address cannot be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {host}: expected an address of this machine ({error})") from error
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
        except OSError as error:
            raise InputError(
                f"cannot listen on {host} port {port} ({error.strerror}); choose another with --port, or 0 "
                "for any free one"
            ) from error
        numeric, actual_port = listening.getsockname()[:2]
        yield _site(listening, host, numeric, actual_port)


def _site(listening: socket.socket, host: str, numeric: str, port: int) -> Site:
    if numeric in LOOPBACK or numeric.startswith("127."):
        return Site(listening, (_address(numeric, port, ""),), Rules(LOOPBACK | {numeric, host.lower()}))
    token = secrets.token_urlsafe(16)
    name = socket.gethostname().lower()
    hosts = LOOPBACK | {host.lower(), name, f"{name}.local"}
    reachable = [_own_address(listening.family), name] if numeric in _ANYWHERE else [numeric]
    addresses = tuple(_address(x, port, f"{token}/") for x in reachable)
    return Site(listening, addresses, Rules(hosts, any_address=True, token=token))


def _address(host: str, port: int, path: str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{path}"


def _own_address(family: socket.AddressFamily) -> str:
    """Returns the address by which this machine reaches others, or that of the loopback where it has none."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_OUTWARD[family], 9))
        except OSError:
            return "127.0.0.1" if family == socket.AF_INET else "::1"
        return str(probe.getsockname()[0])


@contextmanager
def serving(app: ASGIApp, listening: socket.socket) -> Iterator[None]:
    """Serves `app` in a thread of its own during the block, so that signals reach the main thread."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="glesam-view-server", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise InputError("the server did not start; its own report stands above")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(2 * _GRACE_S)


def has_display() -> bool:
    """Returns whether a browser can open a window here: not over SSH, not on a board without a screen."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
