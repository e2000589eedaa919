"""The official ImageNet weights: which files they are, and fetching them once with a checksum.

keras.applications publishes the authors' Caffe weights of ResNet-50/101/152 and VGG-16/19 with MD5 sums.
timm publishes torchvision's (`tv_in1k`) on Hugging Face. No checksum of those is written down in a package
that could be cited here; so the SHA-256 that the hub announces with a file is checked when it is fetched, is
kept beside the file and checked again at every use; so are the names and shapes of all tensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import urllib.request
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
_TIMM = "https://huggingface.co/timm"

# MD5 sums of keras.applications' files, with and without the classifier, as in Keras 3.15.1 (keras/src/
# applications/resnet.py, vgg16.py, vgg19.py).
_MD5 = {
    "resnet50": ("2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    "resnet101": ("f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
    "resnet152": ("100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    "vgg16": ("64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
    "vgg19": ("cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"),
}


@dataclass(frozen=True)
class OfficialWeights:
    """One file of official weights and how its network's input is normalised (RGB, 0…255).

    `checksum` is ("md5", …) where its publisher writes one down; None: the publisher's server is asked.
    """

    url: str
    filename: str
    checksum: tuple[str, str] | None
    mean: Sequence[float]
    std: Sequence[float]

    @property
    def cached(self) -> Path:
        """Where the file lies once it has been fetched: Keras' cache, shared with keras.applications."""
        home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
        return home / "models" / self.filename

    def path(self) -> Path:
        """The file, fetched on first use.

        Raises:
            UserError: it cannot be fetched, or is not what its publisher says; the one line says which file
                it is and where to put it by hand.
        """
        file = self.cached
        noted = file.with_name(f"{file.name}.sha256")  # what was announced when the file was fetched
        if file.is_file():
            known = self.checksum or (("sha256", noted.read_text().strip()) if noted.is_file() else None)
            if known is not None and not _is(file, known):
                kind, wanted = known
                raise UserError(
                    f"{file} is not what {self.url} should be ({kind} {wanted}): delete it and try again, or "
                    "put the right file there"
                )
            return file
        by_hand = f"fetch {self.url} by other means and put it at {file}"
        temporary = f".{self.filename}.{os.getpid()}"
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            (file.parent / temporary).touch()  # where that fails, Keras would fetch the file to another place
            checksum = self.checksum or _announced(self.url)
            with contextlib.redirect_stdout(sys.stderr):  # the progress bar; stdout belongs to results
                fetched = Path(  # anew, since half a file of that name may be left of an earlier process
                    keras.utils.get_file(
                        temporary, self.url, cache_subdir=".", cache_dir=str(file.parent), force_download=True
                    )
                )
            try:
                if not _is(fetched, checksum):
                    raise ValueError(f"the download does not have its publisher's {' '.join(checksum)}")
                if self.checksum is None:
                    noted.write_text(checksum[1])
                fetched.replace(file)
            finally:
                fetched.unlink(missing_ok=True)
        except Exception as error:
            with contextlib.suppress(OSError):
                (file.parent / temporary).unlink()
            reason = first_line(error).rsplit(" -- ", 1)[-1]
            raise UserError(f"cannot fetch the official weights ({reason}); {by_hand}") from error
        finally:
            socket.setdefaulttimeout(timeout)
        return file


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
        filename = f"{name}_weights_tf_dim_ordering_tf_kernels{'' if include_top else '_notop'}.h5"
        checksum = ("md5", _MD5[name][0 if include_top else 1])
        url = f"{_KERAS}/{folder}/{filename}"
        return OfficialWeights(url, filename, checksum, CAFFE_MEAN, CAFFE_STD)
    if name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        model = f"{name}.tv_in1k"
        url = f"{_TIMM}/{model}/resolve/main/model.safetensors"
        return OfficialWeights(url, f"{model}.safetensors", None, IMAGENET_MEAN, IMAGENET_STD)
    raise UsageError(f"there are no official ImageNet weights for {name}; pass weights=None or a file")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The header wanted comes with the redirection to the server that has the file."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _announced(url: str) -> tuple[str, str]:
    """The SHA-256 that Hugging Face announces for a file.

    Raises:
        ValueError: it announces none, so that nothing shows whether the right file came.
    """
    request = urllib.request.Request(url, method="HEAD")
    try:
        headers = urllib.request.build_opener(_NoRedirect).open(request).headers
    except urllib.request.HTTPError as error:
        if not 300 <= error.code < 400:
            raise
        headers = error.headers
    etag = (headers.get("X-Linked-ETag") or "").strip('"')
    if len(etag) != 64:
        raise ValueError("its server announces no SHA-256 to check it by")
    return "sha256", etag
