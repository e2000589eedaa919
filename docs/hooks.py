"""What mkdocs adds to the site: the list of all modules in architecture.md, and pages from elsewhere."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parent.parent
MARK = "<!-- modules -->"
ELSEWHERE = {"benchmarks.md": "benchmarks/README.md", "changelog.md": "CHANGELOG.md"}


def first_line(file: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def module_list() -> str:
    """One heading and one table a part of the package, in Markdown; modules by name."""
    lines: list[str] = []
    for folder in sorted({file.parent for file in (REPOSITORY / "keras_resnet").rglob("*.py")}):
        lines += [f"### {folder.relative_to(REPOSITORY)}/", "", first_line(folder / "__init__.py"), ""]
        lines += ["| module | what it is |", "|---|---|"]
        modules = sorted(file for file in folder.glob("*.py") if file.stem != "__init__")
        lines += [f"| `{file.stem}` | {first_line(file)} |" for file in modules]
        lines.append("")
    return "\n".join(lines)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs with all files: add the pages that lie outside docs/."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page: put the list where a page has the mark."""
    return markdown.replace(MARK, module_list()) if MARK in markdown else markdown
