"""torchvision's and timm's networks against ours, with random weights and statistics: the same logits."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_resnet
from keras_resnet.architectures import get_architecture
from keras_resnet.saving import ModelInfo, load_model, save_model
from keras_resnet.weights import export_weights, import_weights
from keras_resnet.weights.state import get_state, set_state
from keras_resnet.weights.torch_files import read_tensors
from keras_resnet.weights.torch_names import from_torch

from .networks import assert_equal_logits, pixels, random_array, random_state

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

MEAN = np.array([123.675, 116.28, 103.53], "float32")
STD = np.array([58.395, 57.12, 57.375], "float32")
CLASSES = 13


@pytest.fixture(autouse=True)
def small_memory():
    yield
    keras.backend.clear_session()


def randomized(module):
    """The module with random weights and statistics, ready for inference."""
    generator = np.random.default_rng(0)
    state = {
        name: torch.from_numpy(random_array(name, tuple(tensor.shape), generator))
        if tensor.dtype == torch.float32
        else tensor
        for name, tensor in module.state_dict().items()
    }
    module.load_state_dict(state)
    return module.eval()


def run(module, images: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(((images - MEAN) / STD).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        return module(x).numpy()


def options(name: str) -> dict[str, str]:
    return {"downsample": "3x3"} if name in ("resnet50", "resnet101", "resnet152") else {}


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_torchvision_to_ours_and_back(name, tmp_path):
    theirs = randomized(getattr(torchvision.models, name)(num_classes=CLASSES))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    path = import_weights(tmp_path / "theirs.pth", name, output=tmp_path / "ours.keras")
    saved = load_model(path)
    assert saved.info.architecture == get_architecture(name, **options(name))
    images = pixels(2, 64)
    ours = keras_resnet.build(
        name, weights=path, classes=CLASSES, classifier_activation=None, **options(name)
    )
    assert_equal_logits(ours(images), run(theirs, images))

    back = read_tensors(export_weights(path, "torch", tmp_path / "back.safetensors"))
    again = getattr(torchvision.models, name)(num_classes=CLASSES)
    again.load_state_dict(
        {key: torch.from_numpy(np.array(array)) for key, array in back.items()}, strict=True
    )
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    np.testing.assert_array_equal(run(again.eval(), images), run(theirs, images))


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_torchvisions_vgg(name, tmp_path):
    theirs = randomized(getattr(torchvision.models, name)(num_classes=CLASSES))
    tensors = {key: tensor.numpy() for key, tensor in theirs.state_dict().items()}
    architecture = get_architecture(name)
    ours = keras_resnet.build(name, weights=None, classes=CLASSES, classifier_activation=None)
    state = from_torch(tensors, architecture)
    set_state(ours, state, strict=False)
    images = pixels(2, 224)
    assert_equal_logits(ours(images), run(theirs, images))
    from keras_resnet.weights.torch_names import to_torch

    back = to_torch(get_state(ours), architecture)
    assert back.keys() == tensors.keys()
    for key, array in tensors.items():
        np.testing.assert_array_equal(back[key], array, err_msg=key)


def test_timm_to_ours(tmp_path):
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    theirs = randomized(timm.create_model("resnet50.tv_in1k", pretrained=False, num_classes=CLASSES))
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    ours = keras_resnet.ResNet50(
        weights=tmp_path / "theirs.safetensors", classes=CLASSES, classifier_activation=None, downsample="3x3"
    )
    images = pixels(2, 64)
    assert_equal_logits(ours(images), run(theirs, images))


def test_our_numbers_for_timms_files_are_timms():
    """The official 3x3 weights are named, and fed, as timm says."""
    timm = pytest.importorskip("timm")
    from keras_resnet.weights.hub import official_weights

    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        official = official_weights(get_architecture(name, **options(name)))
        config = timm.get_pretrained_cfg(f"{name}.tv_in1k")
        assert official.url.startswith(f"https://huggingface.co/{config.hf_hub_id}{name}.tv_in1k/") or (
            official.url.startswith(f"https://huggingface.co/{config.hf_hub_id}/")
        )
        np.testing.assert_allclose(official.mean, np.multiply(config.mean, 255), rtol=1e-6)
        np.testing.assert_allclose(official.std, np.multiply(config.std, 255), rtol=1e-6)


def test_ours_to_torchvision_with_the_papers_strides(tmp_path):
    """A "1x1" network loads with strict=True, and computes the same once the strides are moved."""
    architecture = get_architecture("resnet50")
    ours = keras_resnet.ResNet50(weights=None, classes=CLASSES, classifier_activation=None)
    set_state(ours, random_state(architecture, CLASSES), strict=False)
    labels = tuple(map(str, range(CLASSES)))
    save_model(ours, ModelInfo(architecture, labels, 224, 256), tmp_path / "ours.keras")
    export_weights(tmp_path / "ours.keras", "torch", tmp_path / "ours.safetensors")
    theirs = torchvision.models.resnet50(num_classes=CLASSES)
    tensors = read_tensors(tmp_path / "ours.safetensors")
    theirs.load_state_dict({key: torch.from_numpy(np.array(a)) for key, a in tensors.items()}, strict=True)
    for layer in (theirs.layer2, theirs.layer3, theirs.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    images = pixels(2, 64)
    assert_equal_logits(ours(images), run(theirs.eval(), images))


@pytest.mark.parametrize("old", [True, False])
def test_files_that_torch_wrote(old, tmp_path):
    """Both formats, with views, parameters, several types and the usual wrapping of a training checkpoint."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors = {
        "module.a": base.t(),
        "module.b": base[1:, 2:4],
        "module.c": torch.nn.Parameter(torch.randn(3)),
        "module.d": torch.randn(2, 2).to(torch.bfloat16),
        "module.e": torch.tensor(7),
        "module.f": torch.randn(5).half(),
        "module.g": torch.zeros(0, 3),
    }
    content = {"epoch": 4, "best": 0.5, "arch": "resnet", "state_dict": tensors, "lr": [0.1, None]}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=not old)
    read = read_tensors(tmp_path / "x.pth")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        expected = tensor.detach().float().numpy() if name.endswith("d") else tensor.detach().numpy()
        np.testing.assert_array_equal(read[name], expected)


def test_torch_reads_what_we_wrote_by_hand(tmp_path):
    """The hand-written checkpoints of the other tests are real ones."""
    from .torch_pickles import write_checkpoint, write_legacy

    arrays = {"x": np.arange(6, dtype="f4").reshape(2, 3), "n": np.array(3, "i8")}
    for write in (write_checkpoint, write_legacy):
        loaded = torch.load(write(tmp_path / "x.pth", arrays), weights_only=True)["state_dict"]
        for name, array in arrays.items():
            np.testing.assert_array_equal(loaded[name].numpy(), array)
