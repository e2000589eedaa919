from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import keras_resnet
from keras_resnet.architectures import get_architecture
from keras_resnet.errors import UserError
from keras_resnet.weights.hub import OfficialWeights, official_weights

CONTENT = b"the weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server():
    """A file server that announces checksums as Hugging Face does, on the redirection."""

    class Handler(BaseHTTPRequestHandler):
        sent = 0
        announced = SHA256

        def answer(self, body: bool) -> None:
            if self.path == "/hub/file":
                self.send_response(302)
                self.send_header("Location", "/store/file")
                self.send_header("X-Linked-ETag", f'"{Handler.announced}"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200 if self.path == "/store/file" else 404)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            if body:
                Handler.sent += 1
                self.wfile.write(CONTENT)

        def do_GET(self) -> None:
            self.answer(True)

        def do_HEAD(self) -> None:
            self.answer(False)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    yield Handler, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def weights(url: str, checksum: tuple[str, str] | None = None) -> OfficialWeights:
    return OfficialWeights(url, "some.weights", checksum, (1, 2, 3), (4, 5, 6))


def test_a_file_is_fetched_once(server, keras_home, capsys):
    handler, address = server
    official = weights(f"{address}/store/file", ("md5", MD5))
    for _ in range(2):
        path = official.path()
        assert path == keras_home / "models" / "some.weights"
        assert path.read_bytes() == CONTENT
    assert handler.sent == 1
    assert [child.name for child in path.parent.iterdir()] == ["some.weights"]
    assert capsys.readouterr().out == "", "stdout belongs to results"


def test_the_checksum_that_the_server_announces(server, keras_home):
    handler, address = server
    assert weights(f"{address}/hub/file").path().read_bytes() == CONTENT
    (keras_home / "models" / "some.weights").write_bytes(b"changed since")
    with pytest.raises(UserError, match=rf"some\.weights is not what .* \(sha256 {SHA256}\): delete it"):
        weights(f"{address}/hub/file").path()
    for file in (keras_home / "models").iterdir():
        file.unlink()
    handler.announced = "0" * 64
    with pytest.raises(UserError, match=r"its publisher's sha256 000.*; fetch .*some\.weights$"):
        weights(f"{address}/hub/file").path()
    assert list((keras_home / "models").iterdir()) == []


def test_a_wrong_file_is_neither_kept_nor_used(server, keras_home):
    _, address = server
    official = weights(f"{address}/store/file", ("md5", "0" * 32))
    with pytest.raises(UserError, match=f"does not have its publisher's md5 {'0' * 32}"):
        official.path()
    assert list((keras_home / "models").iterdir()) == []
    (keras_home / "models" / "some.weights").write_bytes(b"put there by hand, but another")
    with pytest.raises(UserError, match=r"some\.weights is not what .* delete it and try again"):
        replace(official, checksum=("md5", MD5)).path()


def test_what_nobody_announces_a_checksum_for_is_not_taken(server, keras_home):
    handler, address = server
    handler.announced = "W/abc"
    with pytest.raises(UserError, match=r"announces no SHA-256 .*; fetch http.* put it at .*some\.weights"):
        weights(f"{address}/hub/file").path()
    assert list((keras_home / "models").iterdir()) == []


def test_half_a_file_of_an_earlier_process_is_not_taken(server, keras_home):
    _, address = server
    (keras_home / "models").mkdir(parents=True)
    (keras_home / "models" / f".some.weights.{os.getpid()}").write_bytes(b"hal")
    assert weights(f"{address}/store/file", ("md5", MD5)).path().read_bytes() == CONTENT


def test_a_place_that_cannot_be_written_is_one_line_too(server, keras_home):
    _, address = server
    (keras_home / "models" / "some.weights").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot fetch the official weights \(.*Is a directory"):
        weights(f"{address}/store/file", ("md5", MD5)).path()
    assert [path.name for path in (keras_home / "models").iterdir()] == ["some.weights"]


def test_without_network_one_line_says_what_to_do(keras_home):
    official = weights("http://127.0.0.1:9/file.h5", ("md5", MD5))
    with pytest.raises(UserError) as caught:
        official.path()
    message = str(caught.value)
    assert "\n" not in message and "http://127.0.0.1:9/file.h5" in message
    assert f"put it at {keras_home / 'models' / 'some.weights'}" in message
    official.cached.parent.mkdir(parents=True, exist_ok=True)
    official.cached.write_bytes(CONTENT)  # by hand
    assert official.path() == official.cached


def test_urls_and_checksums_are_those_of_keras():
    from keras.src.applications import resnet, vgg16, vgg19

    for name in ("resnet50", "resnet101", "resnet152"):
        for top, md5 in zip((True, False), resnet.WEIGHTS_HASHES[name], strict=True):
            official = official_weights(get_architecture(name), top)
            assert official.checksum == ("md5", md5)
            suffix = "" if top else "_notop"
            file = f"{name}_weights_tf_dim_ordering_tf_kernels{suffix}.h5"
            assert official.url == f"{resnet.BASE_WEIGHTS_PATH}{file}"
    for module, name in ((vgg16, "vgg16"), (vgg19, "vgg19")):
        architecture = get_architecture(name)
        assert official_weights(architecture).url == module.WEIGHTS_PATH
        assert official_weights(architecture, include_top=False).url == module.WEIGHTS_PATH_NO_TOP


def test_which_file_belongs_to_which_network():
    for name in ("resnet18", "resnet34"):
        official = official_weights(get_architecture(name))
        assert official.url == f"https://huggingface.co/timm/{name}.tv_in1k/resolve/main/model.safetensors"
        assert official.mean == (123.675, 116.28, 103.53)
    official = official_weights(get_architecture("resnet50", downsample="3x3"))
    assert "timm/resnet50.tv_in1k" in official.url
    assert official_weights(get_architecture("resnet50")).mean == (123.68, 116.779, 103.939)
    with pytest.raises(ValueError, match="shortcut option B, not A"):
        official_weights(get_architecture("resnet50", "A"))
    with pytest.raises(ValueError, match="no official ImageNet weights for resnet20"):
        official_weights(get_architecture("resnet20", "B"))


def test_imagenet_weights_load_end_to_end(keras_home, monkeypatch):
    """A stand-in for the official file, put by hand where the message says."""
    import keras

    from keras_resnet.weights import hub

    from .networks import assert_equal_logits, pixels
    from .test_keras_applications import caffe, published_h5, their_network

    theirs = their_network("ResNet50", input_shape=(64, 64, 3))
    file = official_weights(get_architecture("resnet50")).cached
    file.parent.mkdir(parents=True)
    published_h5(theirs, file)
    md5 = hashlib.md5(file.read_bytes()).hexdigest()
    monkeypatch.setitem(hub._MD5, "resnet50", (md5, ""))
    images = pixels(2, 64)
    ours = keras_resnet.ResNet50(classifier_activation=None)
    assert_equal_logits(ours(images), theirs(caffe(images)))
    keras.backend.clear_session()
