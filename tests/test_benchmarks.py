"""The benchmarks' own machinery: rows, table, turns, results. What they measure is never run here."""

from __future__ import annotations

import importlib
import json
import sys
import tarfile
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
CONTRACT = {"case", "ours", "peer", "peer_name", "unit", "ratio", "goal"}
MODULES = sorted(path.stem for path in BENCHMARKS.glob("*.py"))


@pytest.fixture(autouse=True)
def path_and_modules(monkeypatch):
    """The benchmarks import each other by bare names (`table`), as scripts in one folder do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    earlier = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    yield
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.modules.update(earlier)


def module(name):
    found = importlib.import_module(name)
    assert Path(found.__file__).parent == BENCHMARKS
    return found


@pytest.mark.parametrize("name", MODULES)
def test_modules_import(name):
    assert module(name).__doc__


def test_rows_keep_the_contract_and_judge_the_unrounded_ratio():
    row = module("table").row
    faster = row("a", 300.0, 200.0, "peer", "images/s", goal=1.5)
    assert set(faster) >= CONTRACT
    assert (faster["ratio"], faster["reached"]) == (1.5, True)
    assert row("a", 2.0, 3.0, "peer", "s")["ratio"] == 1.5, "fewer seconds are better"
    assert row("a", 2.0, 3.0, "peer", "s")["goal"] is None
    nearly = row("a", 1499.9, 1000.0, "peer", "images/s", goal=1.5)
    assert (nearly["ratio"], nearly["reached"]) == (1.5, False)
    assert row("a", 1.0, 1.0, "peer", "images/s", ratio=2.0, goal=1.5)["reached"]
    assert [row("a", s, 1.0, "peer", "s", limit=0.3)["reached"] for s in (0.3, 0.31)] == [True, False]


def test_table_is_text_or_markdown():
    table = module("table")
    rows = [
        table.row("train | resnet20", 12_345.6, 8000.0, "torch", "images/s", goal=1.2),
        table.row("--help", 0.4321, 0.02, "python", "s", limit=0.3),
        table.row("latency", 20.0, 21.0, "OpenVINO", "ms"),
        table.failure("deep", "exit code 1"),
    ]
    assert table.text_table(rows).splitlines() == [
        "case                         ours  peer          ratio     goal  reached",
        "----------------  ---------------  ------------  -----  -------  -------",
        "train | resnet20  12,346 images/s  torch: 8,000  1.543    ≥ 1.2  yes",
        "--help                    0.432 s  python: 0.02  0.046  ≤ 0.3 s  no",
        "latency                     20 ms  OpenVINO: 21  1.050",
        "deep (all of it)                –  –                 –        –  failed",
    ]
    lines = table.markdown_table(rows).splitlines()
    assert lines[1] == "| --- | --: | --- | --: | --: | --- |"
    assert lines[2] == r"| train \| resnet20 | 12,346 images/s | torch: 8,000 | 1.543 | ≥ 1.2 | yes |"
    assert len(lines) == 2 + len(rows)


def script(path: Path, body: str) -> Path:
    path.write_text(body)
    return path


def test_a_failed_benchmark_is_reported_and_the_others_still_run(tmp_path, monkeypatch, capsys):
    run, table = module("run"), module("table")
    row = table.row("a case", 3.0, 2.0, "a peer", "images/s", goal=1.2)
    broken = script(tmp_path / "broken.py", "raise SystemExit('error: out of luck')")
    good = script(tmp_path / "good.py", f"import json; print(json.dumps([{row}]))")
    monkeypatch.setattr(run, "BENCHMARKS", {"broken": broken, "good": good})
    results = tmp_path / "results"

    assert run.main(["--results", str(results), "--rounds", "1"]) == 1
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["broken", "a"]
    assert out.splitlines()[2].endswith("failed")
    assert "out of luck" in err and "1 of 1 goals reached; failed: broken" in err

    (stored,) = results.iterdir()
    data = json.loads(stored.read_text())
    assert data["hardware"]["cores"] >= 1 and "numpy" in data["versions"]
    assert data["benchmarks"]["good"]["rows"] == [row]
    assert data["benchmarks"]["good"]["options"] == ["--rounds", "1"]
    assert data["benchmarks"]["broken"]["rows"][0]["failed"] == "exit code 1: error: out of luck"

    broken.write_text(good.read_text())  # repaired, it replaces the failure; the other entry stays
    assert run.main(["--results", str(results), "--only", "broken"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("a case")
    broken.write_text("print('[]')")  # and another failure does not replace what was measured
    assert run.main(["--results", str(results), "--only", "broken"]) == 1
    capsys.readouterr()
    assert list(results.iterdir()) == [stored]
    assert run.main(["--show", str(stored), "--markdown"]) == 0
    assert capsys.readouterr().out.count("| a case |") == 2


def test_contestants_take_turns_and_say_when_they_fail(tmp_path):
    turns = module("turns")
    body = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS)!r})
from turns import answer_turns

def prepare():
    print("a framework says hello")
    done = []

    def turn(count):
        done.append(10 // count)
        return [sys.argv[2], done]

    return turn

answer_turns(prepare)
"""
    path = script(tmp_path / "contestant.py", body)
    with turns.contestants(str(path), {"ours": ["x"], "peer": ["y"]}) as processes:
        assert processes["ours"].turn(2) == ["x", [5]]
        assert processes["peer"].turn(5) == ["y", [2]]
        assert processes["ours"].turn(1) == ["x", [5, 10]]
        with pytest.raises(SystemExit, match=r"contestant\.py --contestant x"):
            processes["ours"].turn(0)
    assert all(contestant.process.poll() is not None for contestant in processes.values())


def test_a_peer_takes_part_only_with_all_that_it_needs(monkeypatch):
    inference, there = module("inference"), {"onnxruntime", "keras"}
    monkeypatch.setattr(inference.importlib.util, "find_spec", lambda name: name in there or None)
    assert [inference.installed(peer) for peer in inference.PEERS] == [False, False, False, True]
    there.add("tf2onnx")
    assert inference.installed("onnxruntime float32")


def test_load_needs_images(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["serving.py", "model", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        module("serving").main()
    assert "no .jpeg, .jpg, .png files in" in capsys.readouterr().err


def test_slug_of_a_cpu():
    slug = module("machine").cpu_slug
    assert slug("Intel(R) Xeon(R) Platinum 8480+") == "intel-xeon-platinum-8480"
    assert slug("AMD EPYC 9B14") == "amd-epyc-9b14"


@pytest.mark.parametrize("name", ["../escaped.txt", "a/../../escaped.txt"])
def test_an_archive_writes_nothing_outside_its_folder(tmp_path, monkeypatch, name):
    pipeline = module("pipeline")
    monkeypatch.setattr(pipeline, "SHARED", tmp_path)
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a/1.jpg"))
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(ValueError, match=r"photos\.tar has a file that would lie elsewhere"):
        pipeline.unpack("photos.tar", "", tmp_path / "images")
    assert (tmp_path / "images" / "a" / "1.jpg").is_file()
    assert not (tmp_path / "escaped.txt").exists()
