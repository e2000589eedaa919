"""How version folders and files appear: whole or not at all."""

from __future__ import annotations

import pytest

from keras_resnet.errors import UserError
from keras_resnet.export.publishing import new_version, versions


def test_versions_are_numbers_in_order(tmp_path):
    for name in ("2", "10", "9x", ".exporting-1", "x"):
        (tmp_path / name).mkdir()
    assert versions(tmp_path) == [2, 10]
    assert versions(tmp_path / "none") == []


def test_a_new_version_appears_whole_and_is_one_more_than_the_highest(tmp_path):
    (tmp_path / "7").mkdir()
    with new_version(tmp_path) as (temporary, publish):
        (temporary / "file").write_text("whole")
        assert versions(tmp_path) == [7]
        assert publish(lambda target: None) == tmp_path / "8"
    assert (tmp_path / "8" / "file").read_text() == "whole"
    assert (tmp_path / "8").stat().st_mode & 0o777 == 0o755
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["7", "8"]


def test_two_exports_at_once_get_a_version_each(tmp_path, monkeypatch):
    with new_version(tmp_path) as (first, publish_first), new_version(tmp_path) as (second, publish_second):
        (first / "file").write_text("first")
        (second / "file").write_text("second")
        seen = []
        assert publish_first(seen.append) == tmp_path / "1"
        answers = iter([[], [1]])  # the second export looked before the first was there
        monkeypatch.setattr("keras_resnet.export.publishing.versions", lambda output: next(answers))
        assert publish_second(seen.append) == tmp_path / "2"
        assert [target.name for target in seen] == ["1", "1", "2"]  # a card for every number that was tried
    assert [(tmp_path / version / "file").read_text() for version in "12"] == ["first", "second"]


def test_nothing_is_left_of_an_unpublished_version(tmp_path):
    with pytest.raises(RuntimeError), new_version(tmp_path / "a" / "b") as (temporary, _):
        (temporary / "file").write_text("half")
        raise RuntimeError
    assert not (tmp_path / "a" / "b").exists()


def test_the_error_is_seen_even_where_the_folder_has_gone(tmp_path):
    with pytest.raises(RuntimeError), new_version(tmp_path / "a"):
        (tmp_path / "a").rename(tmp_path / "b")
        raise RuntimeError


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write to .*file"), new_version(tmp_path / "file"):
        pass


def test_a_version_is_no_folder_of_versions(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    with pytest.raises(UserError, match="1 is one version of an export: name the folder"):
        new_version(tmp_path / "1").__enter__()
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["saved_model.pb"]
