"""What the page's server refuses: large, broken and wrong input, each with one line that says why."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from view_page import BOX, Page, png_of

from glesam_runtime.preprocess import Pixels
from glesam_runtime.view import answers, app, library, requests
from glesam_runtime.view.requests import upload_name

POINTS_65 = [[1, 1]] * 65
WRONG_OBJECTS = [
    ([], "objects: expected a list of 1 to 64, found a list of 0"),
    ("box", 'objects: expected a list of 1 to 64, found "box"'),
    ([{"box": BOX}] * 65, "objects: expected a list of 1 to 64, found a list of 65"),
    ([{"circle": 3}], "object: expected background_points, box, points"),
    ([{"box": [1, 2, 3]}], "box: expected 4 numbers, found a list of 3"),
    ([{"box": [1, 2, 3, "4"]}], "box: expected 4 numbers"),
    ([{"box": [1, 2, 3, True]}], "box: expected 4 numbers"),
    ([{"box": [1, 2, 3, 10**400]}], "box: expected 4 numbers"),
    ([{"points": [[1, 2, 3]]}], "points: expected 2 numbers"),
    ([{"points": POINTS_65}], "points: expected a list of at most 64, found a list of 65"),
    ([{"points": {"x": 1}}], "points: expected a list of at most 64"),
    ([{}], "no prompt"),
    ([{"box": [50, 50, 20, 80]}], "expected 0 <= X0 < X1 <= 128"),
    ([{"points": [[500, 3]]}], "expected 0 <= X < 128"),
]
WRONG_OPTIONS = [
    ({"sides": []}, "sides: expected some of gle, plain"),
    ({"sides": ["both"]}, "sides: expected some of gle, plain"),
    ({"sides": [["gle"]]}, "sides: expected some of gle, plain"),
    ({"multimask": 1}, "multimask: expected true or false, found 1"),
    ({"choices": [3], "multimask": True}, "choices: expected a whole number from 0 to 2, found 3"),
    ({"choices": [0, 0]}, "choices: expected one for each object"),
    ({"revision": None}, "revision: expected a whole number"),
    ({"revision": -1}, "revision: expected a whole number"),
]


def error_of(answer: Any, status: int = 422) -> str:  # noqa: ANN401
    assert answer.status_code == status, answer.text
    (message,) = answer.json().values()
    assert isinstance(message, str) and "\n" not in message
    return message


@pytest.mark.parametrize(("objects", "message"), WRONG_OBJECTS)
def test_wrong_objects_are_refused(page: Page, objects: object, message: str) -> None:
    assert message in error_of(page.post("masks", page.request() | {"objects": objects}))


@pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS)
def test_wrong_options_are_refused(page: Page, options: dict[str, Any], message: str) -> None:
    assert message in error_of(page.post("masks", page.request({"box": BOX}) | options))


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 60_000, b'{"a": ' * 9_000])
def test_what_is_no_json_object_is_refused(page: Page, body: bytes) -> None:
    address = f"/api/tabs/{page.tab}/masks"
    answer = page.client.post(address, content=body, headers={"content-type": "application/json"})
    assert "expected a JSON object" in error_of(answer, 400)


def test_not_a_number_is_refused(page: Page) -> None:
    body = b'{"revision": %d, "objects": [{"points": [[NaN, 1]]}]}' % page.revision
    address = f"/api/tabs/{page.tab}/masks"
    answer = page.client.post(address, content=body, headers={"content-type": "application/json"})
    assert "points: expected 2 numbers" in error_of(answer)


def test_a_body_has_a_limit_announced_or_not(page: Page) -> None:
    address = f"/api/tabs/{page.tab}/masks"
    large = b"{" + b" " * 270_000 + b"}"
    headers = {"content-type": "application/json"}
    assert "at most 256 KiB" in error_of(page.client.post(address, content=large, headers=headers), 413)
    pieces = (large[at : at + 8192] for at in range(0, len(large), 8192))
    assert "at most 256 KiB" in error_of(page.client.post(address, content=pieces, headers=headers), 413)


def test_an_upload_has_a_limit_and_the_old_picture_stays(
    page: Page, image: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_UPLOAD_BYTES", 1 << 20)
    assert "at most 1 MiB" in error_of(page.upload(bytes((1 << 20) + 1)), 413)
    assert page.masks({"box": BOX})["objects"]
    assert page.upload(png_of(image)).status_code == 200


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    Image.new("1", (400, 300)).save(buffer, "PNG")
    monkeypatch.setattr(library, "MOST_PIXELS", 100_000)
    message = error_of(page.upload(buffer.getvalue(), "huge.png"))
    assert message == "huge.png: expected at most 0.1 megapixels, found 0.2; make the picture smaller"


def test_what_pillow_calls_a_bomb_is_refused_with_the_limit_of_the_page(page: Page) -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    message = error_of(page.upload(buffer.getvalue(), "huge.png"))
    assert message == "huge.png: expected at most 50 megapixels, found 400; make the picture smaller"


@pytest.mark.parametrize("brand", ["heic", "mif1"])
def test_a_telephones_heic_is_named(page: Page, brand: str) -> None:
    content = b"\0\0\0\x18ftyp" + brand.encode() + b"\0\0\0\0mif1heic" + bytes(64)
    message = error_of(page.upload(content, "IMG_1.HEIC"))
    assert message == "IMG_1.HEIC: expected a picture, found a HEIC file; save it as JPEG"


@pytest.mark.parametrize("content", [b"", b"no picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_picture_is_refused_by_its_own_name(page: Page, content: bytes) -> None:
    message = error_of(page.upload(content, "na%C3%AFve.jpg"))
    assert message.startswith("naïve.jpg: expected a picture, found") and "/tmp" not in message
    assert page.masks({"box": BOX})["objects"], "the old picture stays"


def test_content_of_another_type_is_refused(page: Page, image: Pixels) -> None:
    address = f"/api/tabs/{page.tab}"
    form = page.client.post(f"{address}/upload", files={"file": ("a.png", png_of(image))})
    assert "expected content of type application/octet-stream" in error_of(form, 415)
    text = page.client.post(f"{address}/masks", content=b"{}", headers={"content-type": "text/plain"})
    assert "expected content of type application/json, found text/plain" in error_of(text, 415)


@pytest.mark.parametrize(
    ("level", "seed"), [(4, 0), (-1, 0), (True, 0), ("3", 0), (2.0, 0), (None, 0), (1, -1), (1, 2**32)]
)
def test_a_level_or_seed_that_there_is_not_is_refused(page: Page, level: object, seed: object) -> None:
    assert "expected a whole number from 0 to" in error_of(
        page.post("degrade", {"level": level, "seed": seed})
    )


def test_degrading_without_its_extra_says_what_to_install(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (app, answers):
        monkeypatch.setattr(module, "can_degrade", lambda: False)
    message = "degrading needs OpenCV and SciPy: pip install 'glesam[degrade]'"
    assert error_of(page.post("degrade", {"level": 1, "seed": 0})) == message
    assert page.client.get("/api/start").json()["degradation"] == message
    assert page.post("degrade", {"level": 0, "seed": 0}).status_code == 200


def test_an_error_of_the_server_itself_says_so_and_no_more(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "mask_document", lambda *_: 1 / 0)
    message = error_of(page.post("masks", page.request({"box": BOX})), 500)
    assert "glesam-view itself" in message and "division" not in message


def test_unknown_addresses_and_methods_are_json_errors(client: TestClient) -> None:
    assert error_of(client.get("/nothing.html"), 404)
    assert error_of(client.get("/api/tabs"), 405)
    assert error_of(client.post("/api/tabs/guessed/encode"), 410)


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\me\\photo.png", "photo.png"),
        ("", "picture"),
        ("..", "picture"),
        ("a\nb.png", "a_b.png"),
        ('a "q" \n.png', 'a "q" _.png'),
    ],
)
def test_a_name_from_a_browser_is_a_name_and_no_path(sent: str, name: str) -> None:
    assert upload_name(sent) == name
