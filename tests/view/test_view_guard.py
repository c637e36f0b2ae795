"""Who may ask: hosts against DNS rebinding, the token in the address, other sites; the page's headers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from view_page import BOX

from glesam_runtime.tools.run.session import Model
from glesam_runtime.view.app import opened_app, page_files
from glesam_runtime.view.guard import Rules
from glesam_runtime.view.library import Library

TOKEN = "a-token_of-22-characters"


@pytest.fixture(scope="module")
def others(model: Model) -> Iterator[TestClient]:
    """The server of a page that other machines reach, with a token."""
    rules = Rules(frozenset({"localhost", "board"}), any_address=True, token=TOKEN)
    with opened_app(model, Library({}), rules) as app:
        yield TestClient(app, base_url="http://192.168.0.7:8765", follow_redirects=False)


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST"])
def test_the_machines_own_names_are_known_with_any_port(client: TestClient, host: str) -> None:
    assert client.get("/api/start", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "192.168.0.7",
        "localhost@evil.example",
        "",
        "[::1",
        "a/localhost",
    ],
)
def test_a_name_that_dns_could_rebind_is_refused(client: TestClient, host: str) -> None:
    for address in ("/", "/api/start", "/app.js"):
        answer = client.get(address, headers={"host": host})
        assert answer.status_code == 403 and "expected the host" in answer.json()["error"]


def test_with_a_token_every_address_begins_with_it(others: TestClient) -> None:
    for address in ("/", "/api/start", "/app.js", "/wrong/", f"/{TOKEN}x/", f"/x/{TOKEN}/", f"//{TOKEN}/"):
        answer = others.get(f"http://192.168.0.7:8765{address}")
        assert answer.status_code == 403 and "token" in answer.json()["error"], address
    for address in ("/", "/app.js", "/api/start"):
        assert others.get(f"/{TOKEN}{address}").status_code == 200
    assert others.post("/api/tabs").status_code == 403
    assert others.post(f"/{TOKEN}/api/tabs").status_code == 200
    assert others.get(f"/{TOKEN}").headers["location"] == f"/{TOKEN}/"


def test_with_a_token_addresses_are_known_and_foreign_names_are_not(others: TestClient) -> None:
    for host, status in (("10.1.2.3", 200), ("[fe80::1]:8765", 200), ("board", 200), ("evil.example", 403)):
        assert others.get(f"/{TOKEN}/", headers={"host": host}).status_code == status, host
    error = others.get(f"/{TOKEN}/", headers={"host": "another-name"}).json()["error"]
    assert error == "expected an IP address or the host that glesam-view printed, found another-name"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"origin": "http://localhost:8765", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_post_of_another_site_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    for address in ("/api/tabs", "/api/tabs/x/masks"):
        answer = client.post(address, json={"objects": [{"box": BOX}]}, headers=headers)
        assert answer.status_code == 403 and "another site" in answer.json()["error"]


def test_a_post_of_the_page_and_of_a_program_pass(client: TestClient) -> None:
    own = {"origin": "http://localhost:8765", "sec-fetch-site": "same-origin"}
    assert client.post("/api/tabs", headers=own).status_code == 200
    assert client.post("/api/tabs").status_code == 200


def test_another_site_may_link_to_the_page_but_not_embed_its_files(client: TestClient) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert client.get("/api/start", headers=embedded).status_code == 403


def test_every_answer_confines_the_page(client: TestClient) -> None:
    for answer in (
        client.get("/"),
        client.get("/api/start"),
        client.get("/none"),
        client.get("/", headers={"host": "x"}),
    ):
        policy = dict(
            part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
        assert policy["style-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers
    assert client.get("/api/start").headers["cache-control"] == "no-store"


def test_the_page_has_no_inline_code_and_asks_nothing_of_the_network() -> None:
    names = {name: content.decode() for name, (content, _) in page_files().items()}
    assert {"index.html", "style.css", "app.js"} <= set(names)
    html = names["index.html"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)
    for name, text in names.items():
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
        assert not re.search(r"\beval\(|new Function|innerHTML|insertAdjacentHTML", text), name
    linked = re.findall(r'(?:src|href)="([^"]+)"', html) + re.findall(
        r'from "\./(\w+\.js)"', "".join(names.values())
    )
    assert set(linked) <= set(names)
