"""TensorFlow starts without its page of notices on the user's terminal."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Import TensorFlow and Keras with their start-up notices kept off stderr; errors still show."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "tensorflow" in sys.modules:
        return
    with _notices_hidden():
        import keras  # noqa: F401
        import tensorflow as tf

        # Looking for GPUs is noisy too, on machines that have none.
        tf.config.list_physical_devices()
        for name in ("tensorflow", "absl"):
            logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _notices_hidden() -> Iterator[None]:
    """Send file descriptor 2 to a file (the notices come from C++); show that file after an exception."""
    if sys.stderr is None:  # closed, as some daemons do: there is nothing to keep notices off
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            file.seek(0)
            os.write(saved, file.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
