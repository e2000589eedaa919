"""What is typed reaches what it is for: options of `train` and `serve`, and commands around a model file."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from saved_networks import picture, pixels, saved_network

from keras_resnet.cli import main
from keras_resnet.data.sources import open_dataset
from keras_resnet.saving import load_model
from keras_resnet.training.epochs import Habits


def call(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


class Called(BaseException):
    """What a command would have run. No Exception: those are one line and an exit code."""

    def __init__(self, *arguments: object, **options: object):
        super().__init__()
        self.arguments, self.options = arguments, options


def stopped_at(monkeypatch: pytest.MonkeyPatch, function: str, *arguments: object) -> Called:
    """The call of that function by a command."""

    def stop(*arguments: object, **options: object) -> None:
        raise Called(*arguments, **options)

    monkeypatch.setattr(function, stop)
    with pytest.raises(Called) as caught:
        pytest.fail(CliRunner().invoke(main, [str(argument) for argument in arguments]).output)
    return caught.value


RECIPE_OPTIONS = {
    "--steps 7": ("steps", 7),
    "--epochs 3": ("epochs", 3.0),
    "--batch-size 24": ("batch_size", 24),
    "--learning-rate 0.03": ("learning_rate", 0.03),
    "--weight-decay 0.002": ("weight_decay", 0.002),
    "--view center": ("view", "center"),
    "--flip": ("flip", True),
    "--label-smoothing 0.15": ("label_smoothing", 0.15),
    "--mixup 0.25": ("mixup", 0.25),
    "--cutmix 0.5": ("cutmix", 0.5),
    "--randaugment": ("randaugment", True),
    "--color-jitter 0.35": ("color_jitter", 0.35),
    "--random-erasing 0.45": ("random_erasing", 0.45),
    "--gradient-clip 2.5": ("gradient_clip", 2.5),
    "--ema 0.95": ("ema", 0.95),
    "--keep-best": ("keep_best", True),
    "--freeze conv2": ("freeze", "conv2"),
}
SETTINGS_OPTIONS = {
    "--precision mixed_bfloat16": ("precision", "mixed_bfloat16"),
    "--image-size 24": ("image_size", 24),
    "--accumulate 2": ("accumulate", 2),
    "--seed 5": ("seed", 5),
    "--weights some.pth": ("initial_weights", "some.pth"),
    "--split train[:99%]": ("split", "train[:99%]"),
    "--val-split train[99%:]": ("val_split", "train[99%:]"),
}
# Options that the tests below, or those of what they are for, type.
ELSEWHERE = {
    *("--depth", "--plain", "--shortcut", "--downsample", "--recipe", "--workdir", "--fresh", "--hold-out"),
    *("--dataset", "--data-dir", "--devices", "--workers", "--worker-index", "--json", "--debug", "--help"),
}
HABITS_OPTIONS = {
    "--checkpoint-minutes 0.5": ("checkpoint_minutes", 0.5),
    "--checkpoint-steps 11": ("checkpoint_steps", 11),
    "--keep 4": ("keep", 4),
    "--skip-limit 0.2": ("skip_limit", 0.2),
    "--tensorboard": ("tensorboard", True),
    "--profile": ("profile", True),
}


def of_training(monkeypatch: pytest.MonkeyPatch, *options: str) -> Called:
    words = [word for option in options for word in option.split()]
    return stopped_at(monkeypatch, "keras_resnet.training.run.train", "train", "--depth", "20", *words)


def test_every_option_of_train_reaches_the_run(monkeypatch):
    plain, data, folder = of_training(monkeypatch).arguments
    assert (data.name, folder) == ("digits", "runs/resnet20-digits")
    options = RECIPE_OPTIONS | SETTINGS_OPTIONS | HABITS_OPTIONS
    together = of_training(monkeypatch, *(option for option in options if option != "--epochs 3"))
    settings, *_ = together.arguments
    for field, value in RECIPE_OPTIONS.values():
        if field != "epochs":
            assert getattr(settings.recipe, field) == value != getattr(plain.recipe, field), field
    for field, value in SETTINGS_OPTIONS.values():
        assert getattr(settings, field) == value != getattr(plain, field), field
    habits = together.options["habits"]
    for field, value in HABITS_OPTIONS.values():
        assert getattr(habits, field) == value != getattr(Habits(), field), field
    typed = {option.split()[0] for option in options} | ELSEWHERE
    assert {name for param in main.commands["train"].params for name in param.opts} <= typed
    longer, *_ = of_training(monkeypatch, "--epochs 3").arguments
    assert (longer.recipe.epochs, longer.recipe.steps) == (3.0, None)


def test_images_are_held_out_to_validate_on(monkeypatch, tmp_path):
    for name in ("cat", "dog"):
        folder = tmp_path / "photos" / "train" / name
        folder.mkdir(parents=True)
        for seed in range(4):
            (folder / f"{seed}.png").write_bytes(picture(seed=seed))
    called = of_training(monkeypatch, f"--dataset {tmp_path / 'photos'}", "--hold-out 2")
    settings, data, folder = called.arguments
    assert (settings.hold_out, data.splits) == (2, {"train": 6, "val": 2})
    assert folder == "runs/resnet20-photos"


def test_options_that_name_the_network_and_the_folder(monkeypatch):
    words = ("--plain", "--recipe cifar-fast", "--no-flip", "--workdir here", "--fresh")
    called = of_training(monkeypatch, *words)
    settings, _, folder = called.arguments
    assert (settings.architecture.name, settings.recipe.name, folder) == ("plain20", "cifar-fast", "here")
    assert (settings.recipe.flip, called.options["fresh"]) == (False, True)
    settings, *_ = of_training(monkeypatch, "--shortcut C").arguments
    assert settings.architecture.shortcut == "C"


def test_options_of_serve(monkeypatch):
    function = "keras_resnet.serving.server.serve"
    called = stopped_at(monkeypatch, function, "serve", "runs/a", "--port", 0, "--host", "::1", "--name", "b")
    assert (called.arguments, called.options) == (("runs/a",), {"host": "::1", "port": 0, "name": "b"})


def test_weights_go_out_and_come_back(tmp_path):
    model = saved_network(tmp_path / "m.keras")
    file = call("export-weights", model, "--to", "torch", tmp_path / "m.safetensors")
    (tmp_path / "names.txt").write_text("cat\ndog\n\némeu\n", encoding="utf-8")
    options = ("--classes", 3, "--label-names", tmp_path / "names.txt", "--output", tmp_path / "again.keras")
    again = load_model(call("import-weights", file, "--name", "resnet20", *options))
    assert again.info.label_names == ("cat", "dog", "émeu")
    images = np.stack([pixels(seed, 32, 32) for seed in range(2)])
    np.testing.assert_allclose(again.model(images), load_model(model).model(images), atol=1e-6)
    fed = ("--mean", "1,2,3", "--std", "4,5,6")
    other = load_model(call("import-weights", file, "--name", "resnet20", *options, *fed))
    np.testing.assert_array_equal(other.model.get_layer("normalization").mean, [1, 2, 3])
    np.testing.assert_array_equal(other.model.get_layer("normalization").std, [4, 5, 6])


def test_statistics_are_set_anew(tmp_path):
    model = saved_network(tmp_path / "m.keras", classes=10)
    output = tmp_path / "new.keras"
    options = ("--dataset", "digits", "--batches", 2, "--batch-size", 8, "--output", output)
    assert call("recalibrate", model, *options) == f"recalibrated over up to 2 batches: {output}"
    old, new = (load_model(path).model.get_layer("conv1_bn") for path in (model, output))
    assert not np.allclose(old.moving_variance, new.moving_variance)
    np.testing.assert_array_equal(old.gamma, new.gamma)


def test_shards_are_packed_and_opened(tmp_path):
    assert call("data", "pack", "digits", tmp_path / "shards", "--shards", 2) == str(tmp_path / "shards")
    names = [path.name for path in (tmp_path / "shards").glob("train-*")]
    assert sorted(names) == ["train-00000-of-00002", "train-00001-of-00002"]
    assert open_dataset(str(tmp_path / "shards")).splits == open_dataset("digits").splits
