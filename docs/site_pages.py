"""Hooks of MkDocs: pages that lie outside docs/ join the site, and links to them are rewritten."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = ("measurements/**/*", "glesam/models/nano/README.md")
"""Patterns of files, from the root, that are published beside docs/ under the same paths."""
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
"""Text, file and anchor of a link, or of an image, to a file of the repository."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files outside docs/."""
    for path in outside():
        files.append(File(path.as_posix(), str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files into links of the site; one to a file that the site lacks becomes text."""
    in_docs = (ROOT / "docs" / page.file.src_path).is_file()
    folder = (Path("docs") if in_docs else Path()) / Path(page.file.src_path).parent

    def rewritten(link: re.Match[str]) -> str:
        text, name, anchor = link[1], Path(os.path.normpath(folder / link[2])), link[3] or ""
        on_site = name.relative_to("docs") if name.is_relative_to("docs") else name
        if not name.is_relative_to("docs") and name not in outside():
            return text
        return f"[{text}]({os.path.relpath(on_site, Path(page.file.src_path).parent)}{anchor})"

    return LINK.sub(rewritten, markdown)


def outside() -> list[Path]:
    """Paths, from the root, of the files that OUTSIDE means."""
    found = {path for pattern in OUTSIDE for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(ROOT) for path in found)
