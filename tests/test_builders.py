from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_resnet import builders
from keras_resnet.architectures import ARCHITECTURES, get_architecture
from keras_resnet.builders import build_model
from keras_resnet.scanned import ScannedBlocks

VARIANTS = [
    *((name, None, None) for name in ARCHITECTURES),
    *(("resnet18", option, None) for option in "AC"),
    ("resnet50", "C", None),
    ("resnet50", None, "3x3"),
    *(("resnet20", option, None) for option in "BC"),
    ("resnet1202", "C", None),
]


def tiny(name: str, shortcut: str | None = None, downsample: str | None = None):
    """An architecture of that family with one or two blocks per stage and few channels."""
    architecture = get_architecture(name, shortcut, downsample)
    stages = tuple(
        replace(stage, blocks=2, filters=16 * 2**index) for index, stage in enumerate(architecture.stages)
    )
    return replace(architecture, stages=stages)


def multiply_adds(model: keras.Model) -> int:
    """Counted from the built layers, not from the description."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:-1]))
        elif isinstance(layer, ScannedBlocks):
            kernels = [weight for name, weight in layer.stacked_weights().items() if "conv" in name]
            total += sum(int(np.prod(k.shape)) for k in kernels) * int(np.prod(layer.output.shape[1:-1]))
    return total


@pytest.mark.parametrize(("name", "shortcut", "downsample"), VARIANTS)
def test_built_models_agree_exactly_with_the_computed_numbers(name, shortcut, downsample, monkeypatch):
    monkeypatch.setattr(builders, "he_normal", keras.initializers.Zeros)  # quicker; only shapes matter here
    architecture = get_architecture(name, shortcut, downsample)
    size = architecture.default_image_size
    model = build_model(architecture, input_shape=(size, size, 3))
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
    assert trainable == architecture.parameters()
    assert multiply_adds(model) == architecture.multiply_adds()
    assert model.output_shape == (None, architecture.default_classes)
    # Every convolution of the description is a layer of that name, unless its stage is scanned.
    names = {layer.name for layer in model.layers}
    scanned = {layer.name.removesuffix("s") for layer in model.layers if isinstance(layer, ScannedBlocks)}
    missing = {conv.name for conv in architecture.convs()} - names
    assert all(any(name.startswith(stage) for stage in scanned) for name in missing), missing
    keras.backend.clear_session()


def test_he_initialisation():
    model = build_model(ARCHITECTURES["resnet34"])
    for name, fan_in in (("conv1_conv", 7 * 7 * 3), ("conv5_block2_conv1", 9 * 512), ("predictions", 512)):
        kernel = np.asarray(model.get_layer(name).kernel)
        assert kernel.std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
        # A truncated normal has no values beyond two deviations; 4.6 % of a normal's are.
        assert np.mean(np.abs(kernel) > 2 * kernel.std()) == pytest.approx(0.0455, abs=0.01)


def test_layers_stand_in_the_papers_order():
    model = build_model(tiny("resnet50"), input_shape=(64, 64, 3))
    layers = {layer.name: layer for layer in model.layers}
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)
    assert not any(layer.use_bias for layer in model.layers if isinstance(layer, keras.layers.Conv2D)), (
        "batch normalisation has the offset already"
    )

    def follows(name: str, source: str) -> bool:
        inputs = layers[name].input
        inputs = inputs if isinstance(inputs, list) else [inputs]
        return any(tensor is layers[source].output for tensor in inputs)

    for block in ("conv3_block1", "conv3_block2"):
        for j in (1, 2, 3):
            assert follows(f"{block}_bn{j}", f"{block}_conv{j}")
        assert follows(f"{block}_relu1", f"{block}_bn1") and follows(f"{block}_conv2", f"{block}_relu1")
        assert follows(f"{block}_add", f"{block}_bn3"), "no ReLU before the addition"
        assert follows(f"{block}_out", f"{block}_add"), "ReLU after the addition"
    assert follows("conv3_block2_add", "conv3_block1_out"), "identity shortcut"
    assert follows("conv3_block1_add", "conv3_block1_shortcut_bn"), "projection shortcut"


def test_padding_is_half_the_kernel_on_every_side():
    """Keras' own "same" would pad a strided layer on its right and bottom only."""
    model = build_model(tiny("plain18"), include_top=False, input_shape=(64, 64, 3))
    stem = keras.Model(model.input, model.get_layer("conv1_conv").output)
    kernel = np.zeros((7, 7, 3, 64), "float32")
    kernel[3, 3] = 1.0  # the centre tap: output (i, j) is input (2i, 2j)
    stem.get_layer("conv1_conv").kernel.assign(kernel)
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    expected = image[:, ::2, ::2].sum(-1)
    np.testing.assert_allclose(np.asarray(stem(image))[..., 0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20", "plain20", "vgg16"])
def test_any_image_size_without_top(name):
    model = build_model(tiny(name), include_top=False, mean=(1, 2, 3), std=(4, 5, 6))
    total_stride = 4 if ARCHITECTURES[name].family == "cifar" else 32
    for height, width in ((64, 96), (72, 40)):
        image = np.zeros((1, height, width, 3), "uint8")
        rounded = np.floor if name == "vgg16" else np.ceil
        expected = (int(rounded(height / total_stride)), int(rounded(width / total_stride)))
        assert tuple(model(image).shape[1:3]) == expected


def test_fully_convolutional_use_with_top():
    model = build_model(tiny("resnet18"), classes=7)
    assert model.input_shape == (None, None, None, 3)
    for side in (64, 80):
        probabilities = np.asarray(model(np.zeros((2, side, side, 3), "float32")))
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_pooling_and_logits():
    features = {
        pooling: build_model(tiny("resnet20"), include_top=False, pooling=pooling, input_shape=(32, 32, 3))
        for pooling in (None, "avg", "max")
    }
    assert [model.output_shape for model in features.values()] == [(None, 8, 8, 64), (None, 64), (None, 64)]
    model = build_model(tiny("resnet20"), classifier_activation=None, input_shape=(32, 32, 3))
    logits = np.asarray(model(np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")))
    assert np.abs(logits.sum(-1) - 1).min() > 1e-3


def test_an_input_tensor_is_built_upon():
    image = keras.Input((40, 40, 1), name="grey")
    colour = keras.layers.Concatenate()([image, image, image])
    model = build_model(tiny("resnet20"), input_tensor=colour, classes=3)
    assert model.input_shape == (None, 40, 40, 1)
    assert model(np.zeros((2, 40, 40, 1), "float32")).shape == (2, 3)


def test_zero_init_residual_makes_every_block_the_identity_at_first():
    model = build_model(tiny("resnet20"), zero_init_residual=True, scanned=False, input_shape=(32, 32, 3))
    assert not np.asarray(model.get_layer("conv2_block2_bn2").gamma).any()
    assert np.asarray(model.get_layer("conv2_block2_bn1").gamma).all()
    block = keras.Model(model.input, [model.get_layer(f"conv2_block{i}_out").output for i in (1, 2)])
    before, after = block(np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32"))
    np.testing.assert_array_equal(np.asarray(before), np.asarray(after))
    scanned = build_model(tiny("resnet20"), zero_init_residual=True, scanned=True, input_shape=(32, 32, 3))
    assert not np.asarray(scanned.get_layer("conv2_blocks").stacked_weights()["bn2/gamma"]).any()


def test_mixed_precision_keeps_the_classifier_and_the_statistics_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_model(tiny("resnet20"), mean=(120, 120, 120), std=(60, 60, 60), input_shape=(32, 32, 3))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("conv3_block1_conv1").compute_dtype == "bfloat16"
    assert model.get_layer("conv3_block1_bn1").moving_variance.dtype == "float32"
    assert model(np.zeros((1, 32, 32, 3), "uint8")).dtype == "float32"


def test_plot_model(tmp_path):
    pytest.importorskip("pydot")
    import shutil

    if shutil.which("dot") is None:
        pytest.skip("needs Graphviz' program `dot`")
    keras.utils.plot_model(build_model(tiny("resnet18")), tmp_path / "model.png", show_shapes=True)
    assert (tmp_path / "model.png").stat().st_size > 1000
