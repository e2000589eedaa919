from __future__ import annotations

import pytest

from keras_resnet.evaluation import progress as module
from keras_resnet.evaluation.progress import progress


def test_images_of_an_earlier_run_count_as_done_but_not_as_speed(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with progress("resnet50", 50_000, 40_000) as advance:
        now[0] += 30
        advance(300)
        assert capsys.readouterr().err == ""
        now[0] += 30
        advance(300)
    assert capsys.readouterr().err == "resnet50: 40600/50000 images, 10.0 images/s\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_shown_where_none_asks(terminal, monkeypatch, capsys):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: terminal, raising=False)
    with progress("resnet50", 10, show=False) as advance:
        advance(10)
    assert capsys.readouterr().err == ""
