"""The page of `keras-resnet serve`: drop a picture, see the best classes and where the network looked."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import numpy as np

from keras_resnet.data.images import view_of
from keras_resnet.evaluation.explain import enlarged, overlay
from keras_resnet.export.signatures import TOP
from keras_resnet.serving.endpoints import Served
from keras_resnet.serving.predicting import best


def look_at(contents: bytes, served: Served) -> dict[str, Any]:
    """What the page shows of an image file.

    Returns:
        {"name", "top": [{"label", "probability"}], "view": data URL, "overlay": data URL or None}.

    Raises:
        UserError: the bytes are not an image.
    """
    view = view_of("this file", contents, served.info)
    endpoint = served.endpoints.get("explain") or served.endpoints["serving_default"]
    answer = endpoint.run({"images": view[np.newaxis].astype(np.float32)})
    overlaid = _data_url(overlay(view, answer["heatmap"][0])) if "heatmap" in answer else None
    return {
        "name": served.name,
        "top": best(answer["probabilities"][0], served.info.label_names, TOP),
        "view": _data_url(enlarged(view)),
        "overlay": overlaid,
    }


def _data_url(picture: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
#drop { display: block; border: 2px dashed #888; border-radius: .6rem; padding: 2.2rem 1rem; cursor: pointer;
  text-align: center; }
#drop.over, #drop:focus-within { border-color: #2a6fdb; background: #2a6fdb22; }
#file { position: absolute; opacity: 0; width: 1px; height: 1px; }
#message { min-height: 1.5em; color: #c22; }
figure { display: inline-block; margin: 0 1rem 1rem 0; }
figure img { display: block; width: 256px; height: 256px; border-radius: .3rem; image-rendering: pixelated; }
figcaption { font-size: .85rem; opacity: .75; }
td { padding: .15rem .6rem .15rem 0; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
meter { width: 14rem; }
"""

_SCRIPT = """
const $ = id => document.getElementById(id), drop = $("drop");
async function show(file) {
  $("message").textContent = "";
  $("answer").hidden = true;
  try {
    const reply = await fetch("look", {method: "POST", body: file});
    const found = await reply.json();
    if (!reply.ok) throw new Error(found.error);
    $("view").src = found.view;
    $("heat").hidden = !found.overlay;
    if (found.overlay) $("overlay").src = found.overlay;
    $("top").replaceChildren(...found.top.map(entry => {
      const row = document.createElement("tr"), meter = document.createElement("meter");
      meter.value = entry.probability;
      meter.setAttribute("aria-label", entry.label);
      for (const content of [entry.label, meter, (100 * entry.probability).toFixed(1) + " %"]) {
        row.insertCell().append(content);
      }
      row.cells[2].className = "number";
      return row;
    }));
    $("answer").hidden = false;
  } catch (error) {
    $("message").textContent = error.message;
  }
}
$("file").addEventListener("change", event => event.target.files[0] && show(event.target.files[0]));
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, event => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  drop.addEventListener(kind, event => { event.preventDefault(); drop.classList.remove("over"); });
}
drop.addEventListener("drop", event => event.dataTransfer.files[0] && show(event.dataTransfer.files[0]));
document.addEventListener("paste", event => {
  if (event.clipboardData.files[0]) show(event.clipboardData.files[0]);
});
"""

PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>keras-resnet</title>
<style>{_STYLE}</style>
<h1>What is in this picture?</h1>
<label id="drop">Drop a picture here, paste one, or click to choose (JPEG, PNG, BMP, GIF)
<input id="file" type="file" accept="image/jpeg,image/png,image/bmp,image/gif"></label>
<p id="message" role="alert"></p>
<section id="answer" aria-live="polite" hidden>
<figure><img id="view" alt="what the network saw"><figcaption>what the network saw</figcaption></figure>
<figure id="heat"><img id="overlay" alt="where it looked">
<figcaption>where it looked (Grad-CAM)</figcaption></figure>
<table><tbody id="top"></tbody></table>
</section>
<script>{_SCRIPT}</script>
</html>
"""


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


# The page runs its own script and nothing else, whatever a label or a file name says.
POLICY = (
    f"default-src 'none'; script-src {_digest(_SCRIPT)}; style-src {_digest(_STYLE)}; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
