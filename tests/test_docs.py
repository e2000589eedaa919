"""The documentation is true: its blocks of code run, its commands parse, it prints what it says.

A block that cannot run here says why in a comment directly above it: `<!-- not run: needs a GPU -->`.
Blocks of the language `text` are not code: drawings and lists.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from saved_networks import picture, random_model, tiny
from shallow import SHALLOW

import keras_resnet
from keras_resnet.architectures import network_name
from keras_resnet.cli import main
from keras_resnet.recipes import RECIPES, get_recipe

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", REPOSITORY / "benchmarks/README.md", *REPOSITORY.glob("docs/**/*.md")]
FENCE = re.compile(r"(?:<!--(?P<comment>[^>]*)-->\n)?^```(?P<language>\S*)\n(?P<code>.*?)^```$", re.M | re.S)
SHELL = ("sh", "bash", "console")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: `language` is empty where none is written, `reason` None where it is run."""

    page: Path
    line: int
    language: str
    code: str
    reason: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        comment, line = match["comment"] or "", text.count("\n", 0, match.start("code")) + 1
        reason = comment.partition("not run:")[2].strip() if "not run" in comment else None
        yield Block(page, line, match["language"], match["code"], reason)


BLOCKS = [block for page in PAGES for block in blocks(page)]
QUICK_START = REPOSITORY / "docs/index.md"


def commands(code: str) -> list[str]:
    """The commands of a shell block, continued lines joined, comments left out."""
    lines = code.replace("\\\n", " ").splitlines()
    return [line for line in lines if shlex.split(line, comments=True)]


def parse(arguments: list[str], place: str) -> None:
    """Parse a command as click does, without running it; network and recipe must exist as well."""
    command: click.Command = main
    context, name = None, "keras-resnet"
    try:
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            context = click.Context(command, context, name)
            name, found, arguments = command.resolve_command(context, arguments)
            assert found is not None
            command = found
        values = command.make_context(name, list(arguments), context).params
    except click.exceptions.Exit:  # --help
        return
    except click.ClickException as error:
        pytest.fail(f"{place}: keras-resnet {name}: {error.format_message()}")
    if values.get("recipe"):
        get_recipe(values["recipe"])
    if values.get("depth"):
        network_name(values["depth"], plain=values["plain"])


def check_command(line: str, place: str) -> None:
    words = shlex.split(line, comments=True)
    if "keras-resnet" in words:
        parse(words[words.index("keras-resnet") + 1 :], place)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (REPOSITORY / "Makefile").read_text(), re.M), f"{place}: {line}"
    if words[0] == "python":
        assert (REPOSITORY / words[1]).exists(), f"{place}: {line}"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_every_block_can_run_or_says_why_not(block, tmp_path):
    assert block.language in (*SHELL, "python", "yaml", "text"), f"{block.place}: no or unknown language"
    assert block.reason != "", f"{block.place}: `not run:` needs a reason"
    if block.language == "python":
        compile(block.code, block.place, "exec")
    if block.language == "text":
        assert not re.search(r"^\s*(keras-resnet|python|make|import) ", block.code, re.M), "that is code"
    if block.language == "yaml":
        assert block.reason, f"{block.place}: YAML is not run here; say why"
        containers = re.findall(r"^ *args: \[(.*?)\]", block.code, re.M | re.S)
        assert containers, f"{block.place}: no `args: [train, …]` of the image's entry point"
        for words in containers:
            parse([word.strip().strip('"') for word in words.split(",")], block.place)
    if block.language in SHELL:
        for line in commands(block.code):
            check_command(line, block.place)
            if block.reason is None:
                assert line.startswith("keras-resnet "), f"{block.place}: cannot run {line!r} here"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_in_the_text_parse(page):
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for line in re.findall(r"`keras-resnet ([^`…]+)`", prose):
        first, *rest = shlex.split(line)
        if rest or first.startswith("-"):
            parse([first, *rest], f"{page.name}: `keras-resnet {line}`")
        else:
            assert first in main.commands, line


def test_make_lists_its_targets():
    result = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    told = re.findall(r"^make ([a-z-]+): \S", result.stdout, re.M)
    assert sorted(told) == sorted(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M))


def test_extras_that_are_named_exist():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for file in (*PAGES, *(REPOSITORY / "keras_resnet").rglob("*.py")):
        for names in re.findall(r"(?:keras-resnet|\.)\[([a-z,]+)\]", file.read_text(encoding="utf-8")):
            assert set(names.split(",")) <= project["optional-dependencies"].keys(), f"{file}: [{names}]"


def all_commands(group: Any = main, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*prefix, name), command
        if isinstance(command, click.Group):
            yield from all_commands(command, (*prefix, name))


def test_the_examples_in_the_help_parse():
    for path, command in [((), main), *all_commands()]:
        examples = (command.help or "").replace("\\\n", " ").splitlines()
        for line in examples:
            if line.strip().startswith("keras-resnet "):
                words = shlex.split(re.split(r"\s{3,}", line.strip())[0])
                parse(words[1:], f"help of {' '.join(path)}")


def test_every_option_says_what_it_is_for():
    for path, command in all_commands():
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert not [option.name for option in options if not option.help], path


@pytest.mark.parametrize("page", PAGES[:2], ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_outside_the_site_lead_somewhere(page):
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", prose):
        assert (page.parent / target).exists(), target


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """The folder that the pages run in: what a reader has who has come so far.

    To be quick, recipes are one epoch long and residual and plain networks have one block a stage.
    """
    folder = tmp_path_factory.mktemp("reader")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    short = {name: replace(r, epochs=1, steps=None, batch_size=64) for name, r in RECIPES.items()}
    short["finetune"] = replace(short["finetune"], batch_size=4)
    replace_everywhere(patch, "RECIPES", short)
    replace_everywhere(patch, "ARCHITECTURES", SHALLOW)
    without_network(patch)
    (folder / "docs").symlink_to(REPOSITORY / "docs")
    for name in ("photo.png", "seven.png"):
        (folder / name).write_bytes(picture())
    for index, (split, name) in enumerate(product(("train", "val"), ("cat", "dog"))):
        (folder / "photos" / split / name).mkdir(parents=True)
        for seed in range(4 * index, 4 * index + 4):
            path = folder / "photos" / split / name / f"{seed}.png"
            path.write_bytes(picture(seed=seed, height=64, width=64))
    for name in ("a.keras", "b.keras"):
        small_network(folder / name)
    run_blocks(QUICK_START)  # its run and its export are what the other pages build on
    yield folder
    patch.undo()


def replace_everywhere(patch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Replace a table in every module that imported it; one imported later would keep it after the test."""
    for info in pkgutil.walk_packages(keras_resnet.__path__, "keras_resnet."):
        module = importlib.import_module(info.name)
        if name in vars(module):
            patch.setattr(module, name, value)


def without_network(patch: pytest.MonkeyPatch) -> None:
    """Official weights are the fresh ones here: the pages' calls run, nothing is fetched."""
    from keras_resnet import applications
    from keras_resnet.builders import build_model
    from keras_resnet.imagenet import IMAGENET_MEAN, IMAGENET_STD
    from keras_resnet.training import run
    from keras_resnet.weights.state import get_state

    build = applications.build

    def build_fresh(name: str, include_top: bool = True, weights: Any = "imagenet", **more: Any) -> Any:
        return build(name, include_top, None if weights == "imagenet" else weights, **more)

    patch.setattr(applications, "build", build_fresh)
    patch.setitem(keras_resnet.__dict__, "build", build_fresh)
    patch.setattr(
        run,
        "initial_state",
        lambda _, net, size: get_state(build_model(net, mean=IMAGENET_MEAN, std=IMAGENET_STD)),
    )


def small_network(path: Path) -> None:
    """A narrow ResNet-18 for two classes at 32 pixels, with random weights."""
    from keras_resnet.saving import ModelInfo, save_model

    architecture = tiny("resnet18", blocks=1)
    info = ModelInfo(architecture, ("cat", "dog"), image_size=32, resize=36)
    save_model(random_model(architecture, classes=2, seed=len(path.name)), info, path)


def run_blocks(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        if block.reason is not None or block.language == "text":
            continue
        if block.language == "python":
            with redirect_stdout(io.StringIO()) as printed:
                exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
            check_shapes(block, names, printed.getvalue())
            continue
        for line in commands(block.code):
            result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
            assert result.exit_code == 0, f"{block.place}: {line}\n{result.output}"


def check_shapes(block: Block, names: dict[str, Any], printed: str) -> None:
    """Shapes in comments are true, in `x = …  # [N, 512]` and in `print(…)  # (2, 10)`."""
    for name, comment in re.findall(r"^(\w+) = .*  # \[([^]]+)\]", block.code, re.M):
        shape = getattr(names[name], "output_shape", None) or names[name].shape
        told = [int(size) if size.isdigit() else None for size in comment.split(", ")]
        sizes = [size if known else None for size, known in zip(shape, told, strict=True)]
        assert sizes == told, f"{block.place}: {name} has the shape {shape}"
    for comment in re.findall(r"^ *print\(.*  # (.*)", block.code, re.M):
        for shape in re.findall(r"\(\d[\d, ]*\)", comment):
            assert shape in printed, f"{block.place}: prints {printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_the_blocks_of_a_page_run_from_top_to_bottom(page, workspace, capsys):
    if page != QUICK_START:  # the workspace has run it
        run_blocks(page)
