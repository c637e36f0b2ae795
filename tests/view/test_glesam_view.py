"""glesam-view as a command: where it listens, what it prints, how it ends, what it refuses."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from programs import main_of
from typer.testing import CliRunner

from glesam_runtime.cli.run import app as run_app
from glesam_runtime.cli.view import app
from glesam_runtime.errors import InputError
from glesam_runtime.view import server
from glesam_runtime.view.server import bound

MAIN = main_of("view")


@contextmanager
def running(bundle: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yields the process of glesam-view and the first address that it prints."""
    command = [sys.executable, "-W", "error", "-c", MAIN, *options, "--bundle", str(bundle), "--no-browser"]
    with subprocess.Popen(
        [*command, "--backend", "onnxruntime", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            line = process.stdout.readline()
            assert line.startswith("open http://"), line + process.stderr.read()
            yield process, line.split()[1]
        finally:
            process.kill()


def status_of(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_pictures_until_ctrl_c(bundle_path: Path, folder: Path, number: signal.Signals) -> None:
    with running(bundle_path, str(folder)) as (process, address):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(f"{address}api/start", timeout=30) as answer:
            assert json.load(answer)["pictures"] == ["a.png", "sub/b.png"]
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0
    assert stderr.startswith("tiny fp32, bundle ") and stderr.endswith(", backend onnxruntime (as asked)\n")
    assert stdout.splitlines()[-1] == "stopped"


def test_a_host_that_others_reach_has_a_token_in_its_address(bundle_path: Path) -> None:
    with running(bundle_path, "--host", "0.0.0.0") as (_, address):
        root, token = re.fullmatch(r"(http://[\w.-]+:\d+/)([\w-]{22})/", address).groups()  # type: ignore[union-attr]
        local = re.sub(r"//[^:]+:", "//127.0.0.1:", root)
        assert status_of(f"{local}{token}/api/start") == 200
        assert status_of(f"{local}api/start") == status_of(local) == 403


def test_two_servers_have_two_tokens() -> None:
    with bound("0.0.0.0", 0) as one, bound("0.0.0.0", 0) as other:
        assert one.rules.token and other.rules.token and one.rules.token != other.rules.token


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.5"])
def test_the_loopback_needs_no_token(host: str) -> None:
    with bound(host, 0) as site:
        assert site.rules.token is None and not site.rules.any_address
        assert site.addresses[0].startswith("http://127.0.0.")


def test_a_host_of_another_machine_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot listen on 192\.0\.2\.7"), bound("192.0.2.7", 0):
        pass
    with pytest.raises(InputError, match="expected an address of this machine"), bound("no such host", 0):
        pass


@pytest.mark.parametrize("case", ["port", "picture", "bundle", "backend"])
def test_what_cannot_be_served_is_one_line_and_status_2(bundle_path: Path, tmp_path: Path, case: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wrong = {
            "port": ["--port", str(taken.getsockname()[1])],
            "picture": [str(tmp_path / "none.png"), "--port", "0"],
            "bundle": ["--bundle", str(tmp_path), "--port", "0"],
            "backend": ["--backend", "none", "--port", "0"],
        }[case]
        result = CliRunner().invoke(app, ["--bundle", str(bundle_path), *wrong])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and {"port": "--port"}.get(case, case) in line


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("full.mp4", b"a text"),
        ("text.jpg", b"a text"),
        ("empty.jpg", b""),
        ("cut.png", b"\x89PNG\r\n\x1a\n"),
        ("none.png", None),
        ("x" * 300 + ".png", None),
    ],
)
def test_a_path_that_is_no_picture_is_refused_as_glesam_run_does(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None
) -> None:
    """Before a page is served that would show nothing, and in the same words."""
    monkeypatch.setattr(server, "bound", lambda *_: pytest.fail("it would serve a page"))
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    bundle = ["--bundle", str(bundle_path)]
    result = CliRunner().invoke(app, [str(path), *bundle, "--port", "0", "--no-browser"])
    assert (result.exit_code, result.stdout) == (2, "")
    other = CliRunner().invoke(
        run_app, [str(path), "--point", "1", "1", *bundle, "--out", str(tmp_path / "out")]
    )
    assert result.stderr.splitlines()[-1] == other.stderr.splitlines()[-1]
    assert result.stderr.startswith("error: ") and "expected a picture" in result.stderr


def test_it_says_which_pictures_of_a_folder_it_leaves_out(bundle_path: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    with running(bundle_path, str(tmp_path)) as (process, address):
        with urllib.request.urlopen(f"{address}api/start", timeout=30) as answer:
            start = json.load(answer)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    line = f"left out 1 mask of pictures in {tmp_path}, first a.png"
    assert start["pictures"] == ["a.jpg", "b.png"] and start["left_out"] == [line]
    assert stderr.splitlines()[0] == line


def test_without_its_extra_it_says_what_to_install(bundle_path: Path) -> None:
    code = f"import sys; sys.modules['uvicorn'] = None; {MAIN}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: glesam-view needs uvicorn: pip install 'glesam[view]'\n"


def test_help_needs_no_extra_and_loads_none() -> None:
    code = f"import sys; sys.modules['uvicorn'] = sys.modules['starlette'] = None; {MAIN}"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--host NAME" in done.stdout and "[IMAGE]" in done.stdout
