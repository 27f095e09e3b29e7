"""The pages of the repository, as tests read them: their commands, their tables and their links."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)


def pages() -> list[str]:
    """Every page of the repository by its path; folders whose name begins with a dot hold none of ours."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(Path(folder) / name).relative_to(ROOT).as_posix() for name in files if name.endswith(".md")]
    return sorted(found)


def text(page: str) -> str:
    """The content of the page at this path."""
    return (ROOT / page).read_text("utf-8")


def prose(page: str) -> str:
    """The content of a page without its blocks of code."""
    return _FENCED.sub("", text(page))


def commands(page: str) -> list[str]:
    """The commands of a page, in their order."""
    return [
        line.removeprefix("$ ").partition("  #")[0].strip()
        for block in re.findall(r"^```console\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]


def table(page: str, head: str) -> list[list[str]]:
    """The rows of all tables of a page whose head begins so, cell by cell."""
    lines = text(page).splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith(f"| {head}")]
    assert starts, f"{page} has no table {head}"
    rows = []
    for start in starts:
        for line in lines[start + 2 :]:
            if not line.startswith("|"):
                break
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def code(cell: str) -> str:
    """The first code of a cell."""
    return cell.split("`")[1]


def links(markdown: str) -> list[str]:
    """The targets of all links."""
    return re.findall(r"\]\(([^)\s]+)\)", markdown)


def relative_links(page: str) -> list[str]:
    """The links of a page that do not leave the repository."""
    return [link for link in links(prose(page)) if "://" not in link]


def target(page: str, link: str) -> Path:
    """The file or folder that a relative link of a page names."""
    path = link.partition("#")[0]
    return (ROOT / page).parent / path if path else ROOT / page


def leads_somewhere(page: str, link: str) -> bool:
    """Whether the file of a relative link is there, and its heading."""
    anchor, file = link.partition("#")[2], target(page, link)
    if not anchor or not file.is_file():
        return file.exists() and not anchor
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", file.read_text("utf-8")), re.MULTILINE)
    return anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
