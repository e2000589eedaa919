"""The page in a real browser: choose a picture, drop one, drop something else."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import browser
import numpy as np
import pytest
from saved_networks import picture, saved_network

from keras_resnet.export import export_model
from keras_resnet.serving import predict

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra keras-resnet[serve]")
pytest.importorskip("starlette", reason="needs the extra keras-resnet[serve]")
pytestmark = pytest.mark.skipif(browser.find() is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """model.keras, export/1, a.jpg, b.png, notes.jpg (which is not an image)"""
    home = tmp_path_factory.mktemp("home")
    export_model(str(saved_network(home / "model.keras", classes=7)), str(home / "export"))
    (home / "a.jpg").write_bytes(picture("JPEG", 1))
    (home / "b.png").write_bytes(picture("PNG", 5))
    (home / "notes.jpg").write_text("no picture")
    return home


@pytest.fixture(scope="module")
def address(home):
    from keras_resnet.serving.connections import bounded
    from keras_resnet.serving.endpoints import load_served
    from keras_resnet.serving.server import Limits, make_app

    protocol = bounded(Limits().seconds, Limits().connections)
    app = make_app(load_served(str(home / "export")))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", http=protocol))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(address, tmp_path):
    with browser.Browser(tmp_path) as page:
        page.call("Page.navigate", url=address)
        page.wait_for("document.readyState == 'complete' && document.getElementById('file') != null")
        yield page


def choose(page, file):
    document = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])


def drop(page, file):
    box = page.evaluate(
        "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        "(document.getElementById('drop').getBoundingClientRect())"
    )
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.call("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)


def rows(page):
    return page.evaluate(
        "[...document.querySelectorAll('#top tr')].map(row => [0, 2].map(cell => row.cells[cell].innerText))"
    )


@pytest.mark.parametrize(("give", "name"), [(choose, "a.jpg"), (drop, "b.png")])
def test_a_picture_shows_its_best_classes_and_where_the_network_looked(page, home, give, name):
    give(page, home / name)
    page.wait_for("!document.getElementById('answer').hidden")
    (expected,) = predict(str(home / "export"), [str(home / name)])
    assert rows(page) == [
        [entry["label"], f"{100 * entry['probability']:.1f} %"] for entry in expected["top"]
    ]
    for image in ("view", "overlay"):
        page.wait_for(f"document.getElementById('{image}').naturalWidth >= 128")
    meters = page.evaluate("[...document.querySelectorAll('meter')].map(meter => meter.value)")
    np.testing.assert_allclose(meters, [entry["probability"] for entry in expected["top"]], atol=1e-6)
    assert page.complaints() == []


def test_what_is_no_picture_is_said_and_the_next_one_works(page, home):
    choose(page, home / "notes.jpg")
    message = page.wait_for("document.getElementById('message').textContent")
    assert "not a readable JPEG, PNG, BMP or GIF image" in message
    assert page.evaluate("document.getElementById('answer').hidden")
    choose(page, home / "a.jpg")
    page.wait_for("!document.getElementById('answer').hidden")
    assert page.evaluate("document.getElementById('message').textContent") == ""


def test_scripts_of_others_do_not_run(page):
    page.evaluate(
        "(() => { const script = document.createElement('script'); script.textContent = 'window.evil = 1';"
        "document.body.append(script); })()"
    )
    assert page.evaluate("window.evil === undefined")
