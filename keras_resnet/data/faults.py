"""What is wrong with an image that TensorFlow cannot read, in one line for people."""

from __future__ import annotations

import re

import tensorflow as tf

from keras_resnet.errors import first_line

LONGEST = 200  # characters; some of TensorFlow's messages have the file in them

# What decoding bytes that are not an image raises. TensorFlow's message can have bytes of the file in it,
# which need not be UTF-8: then Python fails to make a text of it.
UNREADABLE = (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError, UnicodeDecodeError)


def reason(error: BaseException) -> str:
    """What an error says; of TensorFlow's without where in which graph and program."""
    if isinstance(error, UnicodeDecodeError):
        message = error.object.decode(errors="replace")
    elif isinstance(error, tf.errors.OpError):
        message = error.message
    else:
        return first_line(error)
    # The stack of a graph's function comes first, nodes and ops come last.
    message = message.split("\n\t [[")[0].split(" [Op:")[0]
    message = re.split(r"\n\n|<stack traces unavailable>", message)[-1]
    message = re.sub(r"\{\{.*?\}\}", "", message).strip()
    message = re.sub(r"^slice index .*", "the file ends too early", message)
    ours = re.sub(r".*Summarized data: b|^assertion failed: ", "", message)  # of an operation that asserts
    if ours != message:
        message = re.sub(r"[\[\]'\"]", "", ours)
    return " ".join(message.split())[:LONGEST] or type(error).__name__
