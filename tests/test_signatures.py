"""What editors and type checkers see of the networks is what runs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_type_hints

import keras
import pytest

import keras_resnet
from keras_resnet import applications
from keras_resnet.architectures import ARCHITECTURES

REPOSITORY = Path(__file__).resolve().parent.parent
NETWORKS = [name for name in keras_resnet.__all__ if name.lower() in ARCHITECTURES]

SCRIPT = """
import keras_resnet
model = keras_resnet.ResNet50(False, None, pooling="avg", shortcut="C", downsample="3x3", name="mine")
keras_resnet.ResNet50(clases=5)  # wrong
keras_resnet.ResNet50(pooling="mean")  # wrong
keras_resnet.ResNet50(shortcut="D")  # wrong
keras_resnet.ResNet18(downsample="3x3")  # wrong
keras_resnet.Plain34(shortcut="A")  # wrong
keras_resnet.build("resnet50", clases=5)  # wrong
keras_resnet.ResNet51()  # wrong
for network in (keras_resnet.ResNet18, keras_resnet.ResNet50, keras_resnet.VGG16):
    print(network.__name__, network(weights="weights.pth", classes=3))
try:
    keras_resnet.load(keras_resnet.architectures.ARCHITECTURES["resnet20"].name)
except keras_resnet.errors.UserError as error:
    print(error)
"""


@pytest.mark.parametrize("name", NETWORKS)
def test_the_declared_signature_is_the_one_that_runs(name):
    protocol = get_type_hints(applications)[name]
    _, *declared = inspect.signature(protocol.__call__, eval_str=True).parameters.values()
    signature = inspect.signature(getattr(keras_resnet, name))
    assert signature.return_annotation is keras.Model
    for actual, wanted in zip(signature.parameters.values(), declared, strict=True):
        assert actual.default is not ...
        assert actual == wanted.replace(default=actual.default)
    of_build = dict(inspect.signature(keras_resnet.build, eval_str=True).parameters)
    of_build["name"] = of_build.pop("model_name")
    for parameter in declared:
        assert parameter.annotation == of_build[parameter.name].annotation


def test_help_shows_arguments_choices_and_defaults(capsys):
    help(keras_resnet.ResNet50)
    text = capsys.readouterr().out
    assert "Help on function ResNet50" in text and "50-layer residual network" in text
    for part in ("weights: str | os.PathLike[str] | None = 'imagenet'", "Literal['A', 'B', 'C']", "= '1x1'"):
        assert part in text, text


def test_a_misspelt_argument_is_named_together_with_the_function():
    with pytest.raises(TypeError, match=r"^ResNet50\(\) got an unexpected keyword argument 'clases'$"):
        keras_resnet.ResNet50(clases=5)


def test_a_type_checker_finds_every_mistake_and_no_other(tmp_path, monkeypatch):
    mypy = pytest.importorskip("mypy.api")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(
        # Other packages take long, and keras has no types.
        "[mypy]\nfollow_imports = skip\nignore_missing_imports = True\n"
        "[mypy-keras_resnet.*]\nfollow_imports = silent\n"
    )
    monkeypatch.setenv("MYPYPATH", str(REPOSITORY))
    monkeypatch.chdir(tmp_path)
    report, errors, _ = mypy.run(["--strict", "--config-file", "mypy.ini", "script.py"])
    found = {int(line) for line in re.findall(r"^script\.py:(\d+): error", report, re.M)}
    wanted = {number for number, line in enumerate(SCRIPT.splitlines(), 1) if "# wrong" in line}
    assert found == wanted, report + errors
