"""TensorFlow Serving's JSON for the predict API, to arrays and back.

A request has `instances` (a list of examples) or `inputs` (one array by input name), and optionally
`signature_name`; bytes are {"b64": "…"}. The answer has `predictions` or `outputs` in the same way.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_resnet.serving.endpoints import Arrays, Endpoint, Served, Specs

DEFAULT = "serving_default"
MAX_PIXELS = 4 * 2**20  # of all images of a request: 83 of 224 × 224, and no single one of gigabytes inside
MAX_NUMBERS = 8 * 2**20  # of an answer, about 20 characters each: the maps of five 224 × 224 by ResNet-50


class BadRequest(Exception):
    """A request that makes no sense; the message is for the client."""


@dataclass(frozen=True)
class Request:
    """A parsed predict request: the endpoint's name, its inputs, whether the answer goes by row."""

    endpoint: str
    arrays: Arrays
    by_row: bool


def parse(body: bytes, endpoints: Mapping[str, Endpoint], max_batch: int) -> Request:
    """Parse the body of a predict request.

    Raises:
        BadRequest: it is not JSON, lacks something, or does not fit the endpoint.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {type(error).__name__}") from error
    if not isinstance(data, dict):
        raise BadRequest("the body must be a JSON object")
    name = data.get("signature_name", "")
    name = DEFAULT if name == "" else name  # as it is there
    if not isinstance(name, str) or name not in endpoints:
        raise BadRequest(f"unknown signature_name; choose one of {', '.join(endpoints)}")
    endpoint = endpoints[name]
    if ("instances" in data) == ("inputs" in data):
        raise BadRequest("the request needs either instances or inputs")
    by_row = "instances" in data
    columns = _columns_of_rows(data["instances"], endpoint) if by_row else _columns(data["inputs"], endpoint)
    arrays = {key: _array(key, columns[key], *endpoint.inputs[key]) for key in endpoint.inputs}
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1 or not 1 <= min(sizes) <= max_batch:
        raise BadRequest(f"a request has 1 to {max_batch} examples")
    return Request(name, arrays, by_row)


def answer(outputs: Arrays, by_row: bool) -> bytes:
    """The JSON that answers a request with `outputs`.

    Raises:
        BadRequest: it would be too long.
    """
    numbers = sum(value.size for value in outputs.values())
    if numbers > MAX_NUMBERS:
        raise BadRequest(
            f"the answer has {numbers} numbers, {MAX_NUMBERS} are allowed: ask for fewer examples"
        )
    columns = {key: _plain(value) for key, value in outputs.items()}
    alone = next(iter(columns.values())) if len(columns) == 1 else None
    if not by_row:
        return to_json({"outputs": columns if alone is None else alone})
    if alone is not None:
        return to_json({"predictions": alone})
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return to_json({"predictions": rows})


def error_body(message: str) -> bytes:
    """The JSON of a refusal."""
    return to_json({"error": message})


def metadata(served: Served) -> dict[str, Any]:
    """The answer to GET …/metadata: the endpoints, as TensorFlow Serving describes them."""
    signatures = {
        name: {
            "inputs": _tensors(endpoint.inputs),
            "outputs": _tensors(endpoint.outputs),
            "method_name": "tensorflow/serving/predict",
        }
        for name, endpoint in served.endpoints.items()
    }
    return {
        "model_spec": {"name": served.name, "signature_name": "", "version": str(served.version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _tensors(specs: Specs) -> dict[str, Any]:
    return {
        key: {
            "name": key,
            "dtype": "DT_STRING" if dtype.kind == "O" else "DT_FLOAT",
            "tensor_shape": {
                "dim": [{"size": str(-1 if side is None else side), "name": ""} for side in shape],
                "unknown_rank": False,
            },
        }
        for key, (dtype, shape) in specs.items()
    }


def to_json(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _columns_of_rows(instances: Any, endpoint: Endpoint) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        raise BadRequest("instances must be a list of at least one example")
    names = list(endpoint.inputs)
    if isinstance(instances[0], dict) and set(instances[0]) != {"b64"}:
        if any(not isinstance(row, dict) or set(row) != set(names) for row in instances):
            raise BadRequest(f"every instance must have exactly: {', '.join(names)}")
        return {name: [row[name] for row in instances] for name in names}
    if len(names) > 1:
        raise BadRequest(f"every instance must be an object with: {', '.join(names)}")
    return {names[0]: instances}


def _columns(inputs: Any, endpoint: Endpoint) -> dict[str, Any]:
    names = list(endpoint.inputs)
    if isinstance(inputs, dict) and set(inputs) != {"b64"}:
        if set(inputs) != set(names):
            raise BadRequest(f"inputs must have exactly: {', '.join(names)}")
        return inputs
    if len(names) > 1:
        raise BadRequest(f"inputs must be an object with: {', '.join(names)}")
    return {names[0]: inputs}


def _array(name: str, values: Any, dtype: np.dtype, shape: tuple[int | None, ...]) -> np.ndarray:
    if not isinstance(values, list):
        raise BadRequest(f"{name} must be a list")
    if dtype.kind == "O":
        # Filled by hand: np.array would make one array of equally long strings.
        array = np.empty(len(values), object)
        array[:] = [_bytes(name, value) for value in values]
        return array
    try:
        numbers = np.array(values)
        array = numbers.astype(dtype)
        if numbers.dtype.kind not in "iuf" or (dtype.kind in "iu" and (array != numbers).any()):
            raise TypeError  # texts, truth values, or numbers that the type does not have
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"{name} must be numbers in equally long lists") from error
    fits = array.ndim == len(shape) and all(
        side in (None, length) for side, length in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        raise BadRequest(f"{name} has the shape {list(array.shape)} instead of [{wanted}]")
    if array.ndim == 4 and array[..., 0].size > MAX_PIXELS:
        raise BadRequest(f"{name} has more than {MAX_PIXELS} pixels in all")
    if not np.isfinite(array).all():
        raise BadRequest(f"{name} has values that are not finite")
    return array


def _bytes(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")  # JSON may hold halves of characters; no image begins so
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadRequest(f"{name} has invalid base64") from error
    raise BadRequest(f'{name} must be strings or {{"b64": "…"}}')


def _plain(values: np.ndarray) -> Any:
    if values.dtype.kind != "O":
        return values.tolist()
    decoded = np.empty(values.shape, object)
    decoded.ravel()[:] = [value.decode("utf-8", "replace") for value in values.ravel()]
    return decoded.tolist()
