"""The official ImageNet weights: which files they are, and fetching them once by their checksums.

keras.applications publishes the authors' Caffe weights of ResNet-50/101/152 and VGG-16/19, torchvision those
that it trained itself. Neither replaces a file: new weights come under a new name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_resnet.architectures import Architecture
from keras_resnet.errors import UsageError, UserError, first_line
from keras_resnet.imagenet import IMAGENET_MEAN, IMAGENET_STD
from keras_resnet.weights.keras_applications import CAFFE_MEAN, CAFFE_STD

_TIMEOUT = 30.0  # seconds without an answer
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_TORCHVISION = "https://download.pytorch.org/models"

# MD5 sums of keras.applications' files, with and without the classifier, as in Keras 3.15.1 (keras/src/
# applications/resnet.py, vgg16.py, vgg19.py).
_MD5 = {
    "resnet50": ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    "resnet101": ("f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
    "resnet152": ("100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    "vgg16": ("64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
    "vgg19": ("cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"),
}

# SHA-256 sums of torchvision's IMAGENET1K_V1. It publishes the first eight digits, in the files' names; all
# 64 are those that others who fetched the files wrote down, at least two of them for each.
_SHA256 = {
    "resnet18": "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    "resnet34": "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
    "resnet50": "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    "resnet101": "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
    "resnet152": "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58",
}


@dataclass(frozen=True)
class OfficialWeights:
    """One file of official weights, and how its network was fed (RGB, 0…255).

    `checksum` is ("md5", …) or ("sha256", …).
    """

    url: str
    checksum: tuple[str, str]
    mean: Sequence[float]
    std: Sequence[float]

    @property
    def cached(self) -> Path:
        """Where the file lies once it has been fetched: Keras' cache, shared with keras.applications."""
        home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
        return home / "models" / self.url.rsplit("/", 1)[1]

    def path(self) -> Path:
        """The file, fetched on first use.

        Raises:
            UserError: it cannot be fetched, or its checksum is another; the one line says which file it is
                and where to put it by hand.
        """
        file = self.cached
        if not file.is_file():
            self._fetch(file)
        elif not _is(file, self.checksum):
            raise UserError(
                f"{file} is not what {self.url} should be ({' '.join(self.checksum)}): delete it and try "
                "again, or put the right file there"
            )
        return file

    def _fetch(self, file: Path) -> None:
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()  # where that fails, Keras would fetch the file to another place
            with contextlib.redirect_stdout(sys.stderr):  # the progress bar; stdout belongs to results
                keras.utils.get_file(
                    temporary.name,
                    self.url,
                    cache_subdir=".",
                    cache_dir=str(file.parent),
                    force_download=True,  # half a file of that name may be left of an earlier process
                )
            if not _is(temporary, self.checksum):
                raise ValueError(f"what came is not what it should be, {' '.join(self.checksum)}")
            temporary.replace(file)
        except Exception as error:
            reason = first_line(error).rsplit(" -- ", 1)[-1]
            raise UserError(
                f"cannot fetch the official weights ({reason}); fetch {self.url} by other means "
                f"and put it at {file}"
            ) from error
        finally:
            socket.setdefaulttimeout(timeout)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _is(file: Path, checksum: tuple[str, str]) -> bool:
    kind, wanted = checksum
    with file.open("rb") as content:
        return hashlib.file_digest(content, kind).hexdigest() == wanted


def official_weights(architecture: Architecture, include_top: bool = True) -> OfficialWeights:
    """The official ImageNet weights of that network, with or without its classifier.

    Raises:
        UsageError: there are none; the message says for which options there are.
    """
    name = architecture.name
    if architecture.shortcut not in (None, "B"):
        raise UsageError(
            f"official ImageNet weights of {name} are for shortcut option B, not {architecture.shortcut}; "
            "pass weights=None or a file"
        )
    if name in _MD5 and architecture.downsample == "1x1":
        folder = "resnet" if name.startswith("resnet") else name
        file = f"{name}_weights_tf_dim_ordering_tf_kernels{'' if include_top else '_notop'}.h5"
        checksum = ("md5", _MD5[name][0 if include_top else 1])
        return OfficialWeights(f"{_KERAS}/{folder}/{file}", checksum, CAFFE_MEAN, CAFFE_STD)
    if name in _SHA256:
        file = f"{name}-{_SHA256[name][:8]}.pth"
        checksum = ("sha256", _SHA256[name])
        return OfficialWeights(f"{_TORCHVISION}/{file}", checksum, IMAGENET_MEAN, IMAGENET_STD)
    raise UsageError(f"there are no official ImageNet weights for {name}; pass weights=None or a file")
