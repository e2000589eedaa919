"""The JSON of TensorFlow Serving's predict API, from its documentation."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_resnet.serving import rest
from keras_resnet.serving.endpoints import Endpoint
from keras_resnet.serving.rest import BadRequest, answer, parse

FLOAT, STRING = np.dtype(np.float32), np.dtype(object)


def never(arrays):
    raise AssertionError


ENDPOINTS = {
    "serving_default": Endpoint({"images": (FLOAT, (None, 2, None, 3))}, never),
    "classify_bytes": Endpoint({"image_bytes": (STRING, (None,))}, never),
    "two": Endpoint({"a": (FLOAT, (None,)), "b": (STRING, (None,))}, never),
}
IMAGE = [[[1, 2, 3]], [[4, 5, 6]]]


def parsed(data, **options):
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return parse(body, ENDPOINTS, options.pop("max_batch", 4))


def b64(contents):
    return {"b64": base64.b64encode(contents).decode()}


@pytest.mark.parametrize(
    "data",
    [
        {"instances": [IMAGE, IMAGE]},
        {"instances": [{"images": IMAGE}, {"images": IMAGE}]},
        {"inputs": [IMAGE, IMAGE]},
        {"inputs": {"images": [IMAGE, IMAGE]}, "signature_name": "serving_default"},
        {"inputs": [IMAGE, IMAGE], "signature_name": ""},
    ],
)
def test_numbers_by_row_and_by_column(data):
    request = parsed(data)
    assert request.endpoint == "serving_default"
    assert request.by_row == ("instances" in data)
    assert request.arrays["images"].dtype == np.float32
    np.testing.assert_array_equal(request.arrays["images"], [IMAGE, IMAGE])


@pytest.mark.parametrize(
    "data",
    [
        {"instances": [b64(b"\xff\x00"), b64(b"second")]},
        {"instances": [{"image_bytes": b64(b"\xff\x00")}, {"image_bytes": b64(b"second")}]},
        {"inputs": {"image_bytes": [b64(b"\xff\x00"), b64(b"second")]}},
        {"inputs": [b64(b"\xff\x00"), "second"]},
    ],
)
def test_bytes_are_base64_or_plain_strings(data):
    request = parsed({**data, "signature_name": "classify_bytes"})
    assert request.arrays["image_bytes"].tolist() == [b"\xff\x00", b"second"]


def test_half_a_character_is_some_bytes():
    request = parsed({"signature_name": "classify_bytes", "instances": ["\ud800"]})
    assert request.arrays["image_bytes"].tolist() == [b"\xed\xa0\x80"]


def test_equally_long_strings_stay_strings():
    request = parsed({"signature_name": "classify_bytes", "instances": [b64(b"ab"), b64(b"cd")]})
    assert request.arrays["image_bytes"].shape == (2,)


def test_several_inputs_need_names():
    request = parsed({"signature_name": "two", "instances": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]})
    assert request.arrays["a"].tolist() == [1, 2]
    assert request.arrays["b"].tolist() == [b"x", b"y"]
    for data in ({"instances": [1]}, {"inputs": [1]}, {"instances": [{"a": 1}]}, {"inputs": {"a": [1]}}):
        with pytest.raises(BadRequest, match="a, b"):
            parsed({"signature_name": "two", **data})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([], "must be a JSON object"),
        ({}, "either instances or inputs"),
        ({"instances": [IMAGE], "inputs": [IMAGE]}, "either instances or inputs"),
        (
            {"instances": [IMAGE], "signature_name": "x"},
            "unknown signature_name; choose one of serving_default",
        ),
        ({"instances": [IMAGE], "signature_name": ["x"]}, "unknown signature_name"),
        ({"instances": [IMAGE], "signature_name": None}, "unknown signature_name"),
        ({"instances": []}, "at least one example"),
        ({"instances": {}}, "at least one example"),
        ({"inputs": []}, "shape"),
        ({"instances": [IMAGE] * 5}, "1 to 4 examples"),
        ({"instances": [[[[1, 2, 3]]]]}, r"shape \[1, 1, 1, 3\] instead of \[any, 2, any, 3\]"),
        ({"instances": [1]}, "shape"),
        ({"instances": [IMAGE, [[[1]]]]}, "equally long lists"),
        ({"instances": ["x"]}, "numbers"),
        ({"instances": [[[["1", "2", "3"]], [["4", "5", "6"]]]]}, "numbers"),
        ({"instances": [[[[True, False, True]], [[True, True, True]]]]}, "numbers"),
        ({"instances": [[[[None, 2, 3]], [[4, 5, 6]]]]}, "numbers|finite"),
        ({"instances": [[[[10**400, 2, 3]], [[4, 5, 6]]]]}, "numbers|finite"),
        (b'{"instances": [[[[NaN, 2, 3]], [[4, 5, 6]]]]}', "finite"),
        ({"instances": [{"pixels": IMAGE}]}, "exactly: images"),
        ({"inputs": {"pixels": [IMAGE]}}, "exactly: images"),
        ({"inputs": 3}, "must be a list"),
        ({"instances": [{"b64": "@"}], "signature_name": "classify_bytes"}, "invalid base64"),
        ({"instances": [{"b64": 3}], "signature_name": "classify_bytes"}, "must be strings"),
        ({"instances": [3], "signature_name": "classify_bytes"}, "must be strings"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(data, message):
    with pytest.raises(BadRequest, match=message):
        parsed(data)


def test_pixels_in_all_are_limited(monkeypatch):
    monkeypatch.setattr(rest, "MAX_PIXELS", 3)
    assert len(parsed({"instances": [IMAGE]}).arrays["images"]) == 1
    with pytest.raises(BadRequest, match="more than 3 pixels"):
        parsed({"instances": [IMAGE] * 2})


text = st.text(st.characters(exclude_categories=()))  # halves of characters too
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | text,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["instances", "inputs", "b64", "images", "signature_name"]), inner)
    ),
)


@given(anything | st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name"]), anything))
def test_any_json_is_parsed_or_refused(data):
    try:
        parse(json.dumps(data).encode(), ENDPOINTS, 4)
    except BadRequest as error:
        assert str(error)


def test_answers_by_row_and_by_column():
    one = {"probabilities": np.array([[0.25, 0.75]])}
    assert json.loads(answer(one, True)) == {"predictions": [[0.25, 0.75]]}
    assert json.loads(answer(one, False)) == {"outputs": [[0.25, 0.75]]}
    labels = np.array([["émeu".encode()], [b"dog"]], object)
    two = {"scores": np.array([0.5, 1.0]), "top_labels": labels}
    assert json.loads(answer(two, True)) == {
        "predictions": [
            {"scores": 0.5, "top_labels": ["émeu"]},
            {"scores": 1.0, "top_labels": ["dog"]},
        ]
    }
    assert json.loads(answer(two, False)) == {
        "outputs": {"scores": [0.5, 1.0], "top_labels": [["émeu"], ["dog"]]}
    }


def test_an_answer_of_gigabytes_is_refused(monkeypatch):
    monkeypatch.setattr(rest, "MAX_NUMBERS", 10)
    assert json.loads(answer({"x": np.zeros((2, 5))}, by_row=True))["predictions"] == [[0] * 5] * 2
    with pytest.raises(BadRequest, match="has 12 numbers, 10 are allowed: ask for fewer examples"):
        answer({"x": np.zeros((2, 5)), "y": np.zeros(2)}, by_row=True)
