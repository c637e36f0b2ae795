"""Nothing outside the given folder is read; samples come with the project; a wrong path is one line."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient
from view_page import BOX, Page

from glesam_runtime import read_image
from glesam_runtime.errors import GlesamError, ImageError
from glesam_runtime.tools.run.inputs import pictures_in
from glesam_runtime.tools.run.session import Model
from glesam_runtime.view import library
from glesam_runtime.view.app import opened_app
from glesam_runtime.view.guard import Rules
from glesam_runtime.view.library import Library


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "/etc/passwd",
        "sub/../../secret.png",
        "..%2fsecret.png",
        "sub",
        "",
        ".",
        "a.png\0",
        "A.PNG",
    ],
)
def test_only_listed_pictures_are_opened(client: TestClient, name: str) -> None:
    page = Page(client)
    for is_sample in (False, True):
        answer = page.post("open", {"name": name, "sample": is_sample})
        assert answer.status_code == 422 and "that the page lists" in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/../secret.png", "/..%2fapp.py", "/%2e%2e/app.py", "/page/app.js", "//etc/passwd"]
)
def test_no_address_leads_out_of_the_page(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (403, 404)


def test_the_full_path_is_no_name(client: TestClient, folder: Path) -> None:
    answer = Page(client).post("open", {"name": str(folder / "a.png"), "sample": False})
    assert answer.status_code == 422


@pytest.mark.parametrize("name", [None, 3, ["a.png"]])
def test_a_name_is_a_text(client: TestClient, name: object) -> None:
    assert Page(client).post("open", {"name": name}).status_code == 422


def test_links_out_of_the_folder_are_left_out(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (9, 9)).save(root / "own.png")
    (root / "inside.png").symlink_to(root / "own.png")
    (root / "outside.png").symlink_to(folder / "a.png")
    opened = Library.of(root)
    assert set(opened.own) == {"own.png", "inside.png"}
    assert opened.left_out == (f"left out 1 link to pictures outside {root}, first outside.png",)


def test_a_link_that_takes_a_pictures_place_later_is_refused(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (9, 9)).save(root / "own.png")
    opened = Library.of(root)
    os.remove(root / "own.png")
    (root / "own.png").symlink_to(folder / "a.png")
    with pytest.raises(ImageError, match="a link that leads out of it"):
        opened.read("own.png", is_sample=False)


def test_the_folders_pictures_are_listed_up_to_a_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(Library.of(folder).own) == ["a.png", "sub/b.png"]
    monkeypatch.setattr(library, "MOST_LISTED", 1)
    limited = Library.of(folder)
    assert list(limited.own) == ["a.png"]
    assert limited.left_out == (f"left out 1 picture of {folder}; the page lists the first 1",)


def test_one_picture_is_the_only_one(folder: Path, model: Model) -> None:
    with opened_app(model, Library.of(folder / "a.png"), Rules()) as app:
        client = TestClient(app, base_url="http://localhost")
        assert client.get("/api/start").json()["pictures"] == ["a.png"]
        page = Page(client)
        assert page.open("a.png")["width"] == 128
        assert page.masks({"box": BOX})["objects"]


@pytest.mark.parametrize("name", ["none.png", "empty"])
def test_a_path_without_pictures_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(GlesamError, match=r"expected a picture, found nothing|no pictures in it"):
        Library.of(tmp_path / name)


@contextmanager
def as_somebody_else(folder: Path) -> Iterator[None]:
    """Runs the block without root's leave to read everything; the folders around `folder` stay open."""
    if os.geteuid() != 0:
        yield
        return
    modes = {each: stat.S_IMODE(each.stat().st_mode) for each in (folder, *folder.parents)}
    enter = stat.S_IXGRP | stat.S_IXOTH  # the group remains root's
    closed = {each: mode for each, mode in modes.items() if mode & enter != enter}
    for each, mode in closed.items():
        each.chmod(mode | enter)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for each, mode in closed.items():
            each.chmod(mode)


def test_what_may_not_be_read_is_neither_missing_nor_broken(tmp_path: Path) -> None:
    """Its own mode forbids it or its folder's; glesam-run, which reads the same way, says the same."""
    (tmp_path / "closed").mkdir()
    for path in (tmp_path / "own.png", tmp_path / "closed/a.png"):
        Image.new("RGB", (9, 9)).save(path)
        path.chmod(0)
    (tmp_path / "closed").chmod(0)
    with as_somebody_else(tmp_path):
        for name, kind in (
            ("own.png", "picture"),
            ("closed/a.png", "picture"),
            ("closed", "folder of pictures"),
        ):
            path = tmp_path / name
            for read in (Library.of, lambda path: [read_image(x) for x in pictures_in([path], path, print)]):
                with pytest.raises(ImageError) as refused:
                    read(path)
                assert str(refused.value) == (
                    f"{path}: expected a {kind}, found no permission to read it; "
                    "change its permissions, or those of its folder"
                )
    (tmp_path / "closed").chmod(0o700)


def test_samples_come_with_the_project_the_degraded_one_first(client: TestClient) -> None:
    samples = client.get("/api/start").json()["samples"]
    assert samples[0] == "astronaut_lq3.jpg" and len(samples) == 5
    page = Page(client)
    assert page.open(samples[0], sample=True)["width"] == 512
    for name in samples:
        answer = client.get(f"/api/samples/{name}")
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert answer.headers["content-type"] == "image/jpeg" and max(picture.size) <= 160
