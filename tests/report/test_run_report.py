"""The report of run folders: complete, self-contained, and honest about what is missing."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from PIL import Image
from run_folders import write_run

from keras_resnet.errors import UserError
from keras_resnet.pages.blocks import Code, Gallery, Page, Paragraph, Picture, Section, Table, is_number
from keras_resnet.pages.html import render_html
from keras_resnet.pages.markdown import render_markdown
from keras_resnet.paper.folders import read_run
from keras_resnet.report.measuring import measure
from keras_resnet.report.pictures import surest_mistakes
from keras_resnet.report.report import build_page, write_report

pytest.importorskip("matplotlib")

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Checker(HTMLParser):
    """Every element is closed in order, nothing is loaded from elsewhere, nothing runs."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        assert tag not in ("script", "iframe", "link")
        self.loaded += [
            value for name, value in attributes if name in ("src", "xlink:href", "href") and value
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.loaded += [
            value for name, value in attributes if name in ("src", "xlink:href", "href") and value
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def checked(html: str) -> str:
    """The page's text, after checking that it is well formed and self-contained."""
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert all(value.startswith(("#", "data:")) for value in checker.loaded)
    assert "url(http" not in html
    return re.sub(r"\s+", " ", " ".join(checker.text))


@pytest.fixture
def runs(tmp_path):
    finals = {"plain20": 2.0, "plain56": 43.0, "resnet20": 1.0, "resnet56": 0.5}
    for name, error in finals.items():
        write_run(tmp_path / "runs" / name, name, final_train=error, final_val=error + 1, responses=True)
    return tmp_path / "runs"


def test_a_page_tells_everything_that_the_folders_tell(runs, tmp_path):
    text = checked(write_report([runs], tmp_path / "out" / "report.html", evaluate=False).read_text())
    assert "Without shortcuts plain-56 trains worse than plain-20" in text
    for section in (
        "Summary",
        "Curves",
        "Beside the paper",
        "Responses of the layers",
        "Most confident mistakes",
        "Settings",
        "Hardware",
    ):
        assert section in text
    assert "A <CPU>, 2 cores" in text
    assert "8.27 (akamaster)" in text
    assert "https://github.com/akamaster/pytorch_resnet_cifar10" in text
    assert "keras-resnet train --depth 20" in text
    assert "taken for" in text


def test_plots_take_the_pages_text_colour(runs, tmp_path):
    html = write_report([runs], tmp_path / "report.html", evaluate=False).read_text()
    assert "var(--ink)" in html[html.index("<svg") :]
    assert "#010203" not in html
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_an_unfinished_untested_run_is_reported_as_such(tmp_path):
    folder = write_run(tmp_path / "a", finished=False, tested=False)
    text = checked(write_report([folder], tmp_path / "report.html", evaluate=False).read_text())
    assert "not tested" in text
    assert f"Not finished yet: {folder}" in text
    assert "Beside the paper" not in text
    assert "Most confident mistakes" not in text


def test_runs_that_cannot_be_compared_are_reported_without_a_verdict(tmp_path):
    folders = [
        write_run(tmp_path / "a", "plain20", learning_rate=0.1),
        write_run(tmp_path / "b", "plain56", learning_rate=0.01, final_train=40.0),
    ]
    text = checked(write_report(folders, tmp_path / "report.html", evaluate=False).read_text())
    assert "trains worse" not in text
    assert "learning rate" in text


def test_runs_under_other_conditions_are_no_further_seeds(tmp_path):
    """Two recipes, one network: two tables, each with its own recipe and steps, and no mean of both."""
    folders = [
        write_run(tmp_path / name, final_val=error, learning_rate=rate)
        for name, error, rate in (("a", 4.0, 0.1), ("b", 8.0, 0.01))
    ]
    lines = (folders[1] / "history.csv").read_text().splitlines()
    (folders[1] / "history.csv").write_text("\n".join(lines[:-1]) + "\n")
    text = checked(write_report(folders, tmp_path / "report.html", evaluate=False).read_text())
    assert "±" not in text.replace("6.61 ± 0.16", "")
    where = "digits, recipe cifar-paper, learning rate"
    assert f"{where} 0.1, 80 steps; measured on 100 test images" in text
    assert f"{where} 0.01, 70 steps; measured on 100 test images" in text


def test_runs_under_several_conditions_are_told_apart_everywhere(tmp_path):
    """The same four networks on two data sets: two verdicts, and no row that could be of either."""
    errors = {"plain20": 2.0, "plain56": 43.0, "resnet20": 1.0, "resnet56": 0.5}
    runs = [
        read_run(write_run(tmp_path / data / name, name, final_train=error, dataset=data, responses=True))
        for data in ("digits", "photos")
        for name, error in errors.items()
    ]
    summary, curves, _, responses, _, settings, _ = build_page(runs, "").sections
    for section in (summary, curves, responses):
        captions = [block.caption for block in section.blocks if getattr(block, "caption", "")]
        assert [caption.split(",")[0] for caption in captions] == ["digits", "photos"]
    verdicts = [block for block in summary.blocks if isinstance(block, Paragraph)]
    assert all("plain-56 trains worse than plain-20" in verdict.text for verdict in verdicts)
    assert len(verdicts) == 2
    assert settings.blocks[1].header == ("run", "data set")
    assert settings.blocks[1].rows[5] == ("photos/plain56", "photos")


def test_runs_whose_data_are_gone_are_reported_as_they_are(tmp_path, capfd):
    folder = write_run(tmp_path / "a", tested=False, dataset=str(tmp_path / "gone"))
    text = checked(write_report([folder], tmp_path / "report.html").read_text())
    assert "not tested" in text
    assert "is reported as it is: no " in capfd.readouterr().err


def test_markdown_has_its_images_beside_it(runs, tmp_path):
    path = write_report([runs], tmp_path / "report.md", evaluate=False)
    text = path.read_text()
    assert "| network" in text
    images = re.findall(r"\]\(([^)]+)\)", text)
    assert len(images) > 3
    assert all((tmp_path / image).stat().st_size > 100 for image in images)


def test_markdown_links_survive_blanks_in_the_files_name(runs, tmp_path):
    text = write_report([runs], tmp_path / "my report.md", evaluate=False).read_text()
    images = re.findall(r"\]\(([^) ]+)\)", text)
    assert len(images) > 3
    assert all((tmp_path / unquote(image)).exists() for image in images)


def test_curves_that_are_left_out_are_told(tmp_path):
    folders = [write_run(tmp_path / str(seed), seed=seed, tested=False) for seed in range(15)]
    shown = [build_page([read_run(folder) for folder in folders[:count]], "") for count in (14, 15)]
    captions = [page.sections[1].blocks[0].caption for page in shown]
    assert "runs" not in captions[0]
    assert captions[1].endswith(" The first 14 of 15 runs.")


def test_held_out_images_are_held_out_again(tmp_path, monkeypatch):
    """Of a run with --hold-out: its data without a test split cannot be tested otherwise."""
    tested = []
    monkeypatch.setattr(
        "keras_resnet.paper.testing.measure_errors",
        lambda path, data, skip_limit: tested.extend([skip_limit, data.held_out]),
    )
    monkeypatch.setattr(
        "keras_resnet.paper.responses.run_responses",
        lambda path, data, skip_limit: tested.extend([skip_limit, data.held_out]),
    )
    run = write_run(tmp_path / "a", tested=False, hold_out=100, dataset=pictures(tmp_path))
    measure([read_run(run)], skip_limit=0.2)
    assert tested == [0.2, 100, 0.2, 100]
    monkeypatch.setattr(
        "keras_resnet.evaluation.mistakes.gallery", lambda scores, data, count: tested.append(data.held_out)
    )
    run = write_run(tmp_path / "b", hold_out=100)
    monkeypatch.setattr(
        "keras_resnet.evaluation.load_scores", lambda path: SimpleNamespace(dataset=pictures(tmp_path))
    )
    surest_mistakes(read_run(run))
    assert tested == [0.2, 100, 0.2, 100, 100]


def pictures(root):
    """Two classes of 60 pictures to train on, and nothing to validate on."""
    for label, name in enumerate(("black", "white")):
        folder = root / "pictures" / "train" / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(60):
            Image.new("L", (8, 8), 255 * label).save(folder / f"{i}.png")
    return str(root / "pictures")


def test_a_missing_matplotlib_is_told_before_anything_is_tested(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    run = write_run(tmp_path / "a", tested=False)
    with pytest.raises(UserError, match=r"keras-resnet\[plots\]"):
        write_report([run], tmp_path / "report.html")
    assert not list(run.glob("evaluation-*.json"))


def test_a_page_that_cannot_be_written_is_told_before_anything_is_tested(tmp_path):
    run = write_run(tmp_path / "a", tested=False)
    with pytest.raises(UserError, match=r"cannot write .*: name a file in a folder"):
        write_report([run], tmp_path)
    assert not list(run.glob("evaluation-*.json"))


def test_no_run_folder_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="no run folder"):
        write_report([tmp_path / "nothing"], tmp_path / "report.html")


def test_whatever_names_contain_stays_text():
    table = Table(("<b>", "n"), [("<script>alert(1)</script>", "1.5")])
    pictures = Gallery([Picture(b"\x89PNG", '"><script>')], "x", "a & b")
    page = Page("<title>", "&", [Section("<i>", [Paragraph("<p>", emphasis=True), table, pictures])])
    html = render_html(page)
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html
    checked(html)


def test_whatever_names_contain_stays_text_in_markdown_too(tmp_path):
    """`A <CPU>` would be an HTML element there, and not be seen."""
    table = Table(("CPU",), [("A <CPU>\n& more",)], "<caption>")
    pictures = Gallery([Picture(b"\x89PNG", "is <b>")], "x", "<c>")
    page = Page("<title>", "R&D", [Section("<i>", [Paragraph("<p>"), table, pictures, Code("a < b")])])
    text = render_markdown(page, tmp_path, "files")
    assert re.findall(r"<\w+>", text) == []
    assert "| A &lt;CPU&gt; &amp; more |" in text
    assert "```\na < b\n```" in text


def test_markdown_cells_keep_their_bars(tmp_path):
    text = render_markdown(
        Page("t", "s", [Section("x", [Table(("a|b", "n"), [("c", "1")])])]), tmp_path, "files"
    )
    assert "| a\\|b | n |" in text
    assert "| :-- | --: |" in text


@pytest.mark.parametrize("text", ["8.75", "1,202", "8.75 ± 0.16", "12 %", "", "−3", "32×32", "7×7, 64"])
def test_numbers_are_set_to_the_right(text):
    assert is_number(text)


@pytest.mark.parametrize("text", ["B", "v2", "2h"])
def test_text_is_not(text):
    assert not is_number(text)
