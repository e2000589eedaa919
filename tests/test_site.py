"""The references are complete, and the site can be built: commands, public names, fields, modules."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from test_docs import all_commands

import keras_resnet
from keras_resnet.architectures import ARCHITECTURES

REPOSITORY = Path(__file__).resolve().parent.parent


def public_names() -> set[str]:
    names = {f"keras_resnet.{name}" for name in keras_resnet.__all__}
    return names | {f"keras_resnet.{m}.{name}" for m, found in keras_resnet.PUBLIC.items() for name in found}


def test_the_api_page_names_what_is_public_and_nothing_else():
    page = (REPOSITORY / "docs/api.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(keras_resnet\.\w+)` \| ([\d,]+) \|(.*)\|$", page, re.M)
    named = re.findall(r"^::: (\S+)$", page, re.M) + [name for name, *_ in table]
    assert len(named) == len(set(named))
    assert set(named) == public_names()
    for name, parameters, official in table:
        network = ARCHITECTURES[name.rsplit(".", 1)[1].lower()]
        assert int(parameters.replace(",", "")) == network.parameters()
        assert ("yes" in official) == (network.name in official_networks())


def official_networks() -> tuple[str, ...]:
    from keras_resnet.arguments import OFFICIAL

    return OFFICIAL


def test_public_names_exist():
    for name in sorted(public_names()):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_every_field_of_a_public_dataclass_is_explained():
    unexplained = []
    for name in sorted(public_names()):
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, type) and is_dataclass(found):
            names = [field.name for field in fields(found) if field.repr]  # others are inner state
            told = inspect.getdoc(found) or ""
            unexplained += [
                f"{name}.{field}"
                for field in names
                if f"`{field}`" not in told and not re.search(rf"^ *{field}: ", told, re.M)
            ]
    assert unexplained == []


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: pip install 'keras-resnet[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return folder


def test_the_site_has_every_command_and_every_public_name(site):
    cli = (site / "cli.html").read_text(encoding="utf-8")
    assert "Sentinel" not in cli  # a default that click calls unset
    prose = "".join(re.findall(r"<p>.*?</p>", cli, re.S))
    assert not re.search(r":\s+keras-resnet ", prose), "examples are code"
    for path, _ in all_commands():
        assert f'id="keras-resnet-{"-".join(path)}"' in cli, path
    api = (site / "api.html").read_text(encoding="utf-8")
    assert all(name in api for name in public_names())


def test_the_site_lists_every_module_and_has_the_pages_from_elsewhere(site):
    page = (site / "architecture.html").read_text(encoding="utf-8")
    rows = re.findall(r"<td><code>(\w+)</code></td>\s*<td>(.*?)</td>", page)
    modules = [file.stem for file in (REPOSITORY / "keras_resnet").rglob("*.py") if file.stem != "__init__"]
    assert sorted(name for name, _ in rows) == sorted(modules)
    assert all(line.strip() for _, line in rows)
    assert "<table>" in (site / "benchmarks.html").read_text(encoding="utf-8")
    assert "not released yet" in (site / "changelog.html").read_text(encoding="utf-8")
    assert not list(site.rglob("*.py*"))


def test_no_list_or_table_is_lost_in_a_paragraph(site):
    """GitHub needs no empty line before them, the site does."""
    for page in site.rglob("*.html"):
        for paragraph in re.findall(r"<p>(.*?)</p>", page.read_text(encoding="utf-8"), re.S):
            assert not re.search(r"\n(- |\d+\. |\|)", paragraph), f"{page.name}: {paragraph[:100]}"
