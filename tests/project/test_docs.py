"""The pages obey the rules that keep them readable, and every one of them is on the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
READ_WITH_THEM = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "glesam/models/nano/README.md",
]
MOST_WORDS = 12_000
MOST_COLUMNS = 140
BANNED = re.compile(r"\b(former|asked|dear)\b", re.IGNORECASE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)?(?:#([^)\s]+))?\)")
"""A link of Markdown: its file, if any, and its anchor, if any."""


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """The text without its code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as MkDocs and GitHub make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.replace("`", "")).strip().lower() for heading in headings)
    return {re.sub(r"[ -]+", "-", heading) for heading in plain}


def test_all_pages_together_are_short_enough_to_read() -> None:
    assert sum(len(page.read_text().split()) for page in PAGES) <= MOST_WORDS


def test_the_readme_is_one_page_with_its_picture_at_the_top() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 110
    assert len(text.split()) <= 750
    assert re.search(r"!\[.+\]\(docs/", "\n".join(text.splitlines()[:15]))


@pytest.mark.parametrize("page", [*PAGES, *READ_WITH_THEM], ids=by_name)
def test_no_line_is_too_long_but_in_a_table(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert [line for line in lines if len(line) > MOST_COLUMNS and not line.startswith("|")] == []


@pytest.mark.parametrize("page", [*PAGES, *READ_WITH_THEM], ids=by_name)
def test_a_line_holds_one_sentence(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "code", prose(page.read_text()))
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    assert [line for line in lines if re.search(r"[a-z)\]][.?!]\)? (?=[A-Z])", line)] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_a_page_has_no_word_of_a_private_dialect(page: Path) -> None:
    assert BANNED.findall(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_a_page_is_in_the_navigation_of_the_site(page: Path) -> None:
    assert f": {page.relative_to(DOCS).as_posix()}\n" in (ROOT / "mkdocs.yml").read_text()


@pytest.mark.parametrize("page", [*PAGES, *READ_WITH_THEM], ids=by_name)
def test_a_pages_links_lead_somewhere(page: Path) -> None:
    lost = []
    for name, anchor in LINK.findall(prose(page.read_text())):
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(f"{name}#{anchor}")
    assert lost == []


@pytest.mark.parametrize("page", [DOCS / "architecture.md", ROOT / "CONTRIBUTING.md"], ids=by_name)
def test_the_paths_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:glesam|export|calib|runtime|tests|benchmarks)/[\w./]*)`", page.read_text())
    assert named
    paths = [path for path in named if not path.endswith("/yours.py")]
    assert [path for path in paths if not (ROOT / path).exists()] == []
