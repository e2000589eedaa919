"""What a network sees of an image: the paper's training and test views, by name.

`TrainView` and `EvalView` say which; the functions below carry them out. `eval_single` and
`eval_ten_crops` are graph operations and go into exported models as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import tensorflow as tf

from keras_resnet.data import decode, imagenet
from keras_resnet.errors import UsageError

TrainViewName = Literal["scale-jitter", "random-resized-crop", "pad-crop", "center"]
EvalViewName = Literal["single", "10-crop", "multi-scale"]
MULTI_SCALE = (224, 256, 384, 480, 640)  # Sec. 3.4


@dataclass(frozen=True)
class TrainView:
    """A training view.

    Attributes:
        name: "scale-jitter" (Sec. 3.4: shorter side to a random size, random square of it),
            "random-resized-crop" (Inception, fb.resnet.torch, torchvision), "pad-crop" (Sec. 4.2:
            zero padding, random crop), "center" (no augmentation but `flip`).
        image_size: side of the square that the network gets.
        flip: mirror half of the images; not for digits or letters.
        scale_range: smallest and largest shorter side of "scale-jitter".
        padding: pixels on each side of "pad-crop".
        color: AlexNet's colour augmentation with deviation 0.1 (Sec. 3.4).
        antialias: resize accurately instead of by two taps; half as fast (docs/data.md).
    """

    name: TrainViewName
    image_size: int
    flip: bool = True
    scale_range: tuple[int, int] = (256, 480)
    padding: int = 4
    color: bool = False
    antialias: bool = False

    @property
    def is_crop(self) -> bool:
        """Whether the view is a window of the original image, resized, and not its whole square."""
        return self.name in ("scale-jitter", "random-resized-crop")

    def __post_init__(self) -> None:
        _check_name(self.name, TrainViewName)
        if self.image_size < 1 or self.padding < 0:
            raise UsageError("a view needs an image size of at least 1 and no negative padding")
        low, high = self.scale_range
        if self.name == "scale-jitter" and not self.image_size <= low <= high:
            raise UsageError(
                f"scale-jitter cuts {self.image_size} pixels out of a shorter side of {low}…{high}: "
                "the scale range must not begin below the image size"
            )


@dataclass(frozen=True)
class EvalView:
    """A test view.

    Attributes:
        name: "single" (central crop), "10-crop" (corners, centre, their mirror images) or
            "multi-scale" (whole images at several sizes): Fig. 4 and Sec. 3.4.
        image_size: side of the crop (224; CIFAR 32).
        resize: shorter side before the crop (256; CIFAR 32: as it is).
        sizes: shorter sides of "multi-scale".
    """

    name: EvalViewName
    image_size: int
    resize: int
    sizes: tuple[int, ...] = MULTI_SCALE

    def __post_init__(self) -> None:
        _check_name(self.name, EvalViewName)
        if not 1 <= self.image_size <= self.resize:
            raise UsageError(
                f"a crop of {self.image_size} pixels does not fit a shorter side of {self.resize}"
            )


def _check_name(name: str, names: object) -> None:
    if name not in get_args(names):
        raise UsageError(f"no view {name!r}: choose one of {', '.join(get_args(names))}")


def train_view(name: TrainViewName, image_size: int, *, flip: bool = True, color: bool = False) -> TrainView:
    """Return the named view for any image size, the paper's proportions kept.

    At 224 the scale range is [256, 480]; other sizes scale it. At 32 the padding is 4; larger
    images get an eighth of their side.
    """
    low, high = (round(side * image_size / 224) for side in (256, 480))
    return TrainView(
        name,
        image_size,
        flip=flip,
        color=color,
        scale_range=(max(low, image_size), max(high, image_size)),
        padding=max(1, image_size // 8),
    )


def eval_view(name: EvalViewName, image_size: int, *, resize: int | None = None) -> EvalView:
    """Return the named test view for any image size.

    Args:
        name: see `EvalView`.
        image_size: side of the crop.
        resize: shorter side before it; by default 256/224 of the crop, and the crop itself up to 64
            pixels (CIFAR and digits are not cropped).
    """
    if resize is None:
        resize = image_size if image_size <= 64 else round(image_size * 256 / 224)
    return EvalView(name, image_size, resize, tuple(round(side * image_size / 224) for side in MULTI_SCALE))


def eval_single(image: tf.Tensor, view: EvalView) -> tf.Tensor:
    """Shorter side to `view.resize`, then the central square (Fig. 4's test on one crop).

    Only the square is resized, so that an extreme strip costs no more than another image.

    Args:
        image: [H, W, 3] uint8, RGB 0…255.
        view: its `resize` and `image_size` are used.

    Returns:
        [image_size, image_size, 3] uint8.
    """
    size = view.image_size
    height, width = tf.unstack(tf.shape(image)[:2])
    shape = imagenet.resized_shape(height, width, view.resize)
    square = tf.cond(
        tf.reduce_all(tf.equal(shape, tf.shape(image)[:2])),
        lambda: imagenet.center_crop(image, size),
        lambda: imagenet.resize_window(image, shape, imagenet.center_offset(shape, size), (size, size)),
    )
    square.set_shape([size, size, 3])
    return square


def eval_ten_crops(image: tf.Tensor, view: EvalView) -> tf.Tensor:
    """Shorter side to `view.resize`, then ten crops; [10, image_size, image_size, 3] uint8."""
    crops = imagenet.ten_crops(imagenet.resize_shorter_side(image, view.resize), view.image_size)
    crops.set_shape([10, view.image_size, view.image_size, 3])
    return crops


def image_to_view(contents: tf.Tensor, view: EvalView) -> tf.Tensor:
    """Decode an image file's bytes and apply `eval_single` or `eval_ten_crops`.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are not a readable image.
    """
    image = decode.decode_image(contents)
    return eval_ten_crops(image, view) if view.name == "10-crop" else eval_single(image, view)


def train_square(image: tf.Tensor, view: TrainView, draws: tf.Tensor) -> tf.Tensor:
    """Show decoded pixels as `view` does, but for what is done to whole batches (`cifar`).

    A view that is a window is cut out, resized and mirrored; the others are given their central
    square, as it is.

    Args:
        image: [H, W, 3] uint8.
        view: any training view.
        draws: [imagenet.DRAWS] float32 in [0, 1).

    Returns:
        [image_size, image_size, 3] uint8.
    """
    if not view.is_crop:
        return eval_single(image, EvalView("single", view.image_size, view.image_size))
    height, width = tf.unstack(tf.shape(image)[:2])
    window = train_window(height, width, view, draws)
    return _finish(decode.crop(image, window), view, draws)


def train_square_of_file(contents: tf.Tensor, view: TrainView, draws: tf.Tensor) -> tf.Tensor:
    """As `train_square`, from an image file's bytes, of which only the window is decoded."""
    if not view.is_crop:
        return train_square(decode.decode_image(contents), view, draws)

    def window(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        return train_window(height, width, view, draws)

    return _finish(decode.decode_window(contents, window, view.image_size), view, draws)


def train_window(height: tf.Tensor, width: tf.Tensor, view: TrainView, draws: tf.Tensor) -> tf.Tensor:
    """Return the window (top, left, height, width) of the original image that `view` shows."""
    if view.name == "scale-jitter":
        return imagenet.scale_jitter_window(height, width, draws, view.image_size, view.scale_range)
    return imagenet.random_resized_crop_window(height, width, draws)


def _finish(window: tf.Tensor, view: TrainView, draws: tf.Tensor) -> tf.Tensor:
    size = (view.image_size, view.image_size)
    if view.antialias:
        zero = tf.zeros([2], tf.int32)
        square = imagenet.resize_window(window, tf.constant(size), zero, size)
    else:
        # Between its neighbours a value needs no clipping, only rounding.
        square = tf.cast(tf.image.resize(window, size) + 0.5, tf.uint8)
    if view.flip:
        # `tf.reverse` has a fast path for pixels of three channels; a slice `[:, ::-1]` takes 20
        # times as long, as much as the whole resize.
        square = tf.cond(draws[2] < 0.5, lambda: tf.reverse(square, [1]), lambda: square)
    square.set_shape([*size, 3])
    return square
