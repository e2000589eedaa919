"""Reads the objects in a pickle without running it: the few opcodes that a state dict needs, no others.

Python's own unpickler grants what the format promises, and with that a file of a hundred bytes can take
gigabytes (the memo's numbers go to 2^32) or hours (tuples of tuples of tuples as keys of a dictionary). Here
the work is limited, and keys are strings and small integers.
"""

from __future__ import annotations

import collections
import pickletools
from collections.abc import Callable, Iterable, Sized
from typing import Any, BinaryIO

MAX_STEPS = 5_000_000  # a step is an opcode, or an item handed to a function; ResNet-1202 needs 0.2 million

_VALUES = {  # opcodes that say a value themselves
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}


class Unread:
    """Stands for what a pickle names and nobody here knows: takes whatever it is given, and does nothing.

    Training scripts put their options, counters and NumPy's numbers beside the weights.
    """

    def __init__(self, name: str):
        self.name = name

    def __call__(self, *_: Any) -> Unread:
        """It is its own result."""
        return self

    def append(self, _: Any) -> None:
        """Take an item, as a list would."""

    extend = append


_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(
    file: BinaryIO, find: Callable[[str, str], Callable[..., Any]], stored: Callable[[Any], Any]
) -> Any:
    """The object that the pickle at the file's position describes; the file is left behind it.

    Args:
        file: a binary file, or bytes as one.
        find: (module, name) → the function that answers for that name; `Unread` if there is none.
        stored: the pickle's name of something that lies outside it → that.

    Raises:
        ValueError: damaged, too large, or in need of more than a state dict is.
    """
    stack: list[Any] = []
    outer: list[list[Any]] = []  # the stacks below each mark
    memo: dict[int, Any] = {}
    steps = 0
    argument: Any

    def above_mark() -> list[Any]:
        nonlocal stack
        items, stack = stack, outer.pop()
        return items

    for opcode, argument, _ in pickletools.genops(file):
        steps += 1
        match opcode.name:
            case name if name in _VALUES:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name]())
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(memo[argument])
            case "MARK":
                outer.append(stack)
                stack = []
            case name if name in _TUPLES:
                stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
            case "TUPLE":
                items = above_mark()
                stack.append(tuple(items))
            case "LIST":
                items = above_mark()
                stack.append(items)
            case "DICT":
                items = above_mark()
                stack.append(_filled({}, zip(items[::2], items[1::2], strict=True)))
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                items = above_mark()
                stack[-1].extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _filled(stack[-1], [(key, value)])
            case "SETITEMS":
                items = above_mark()
                _filled(stack[-1], zip(items[::2], items[1::2], strict=True))
            case "GLOBAL":
                stack.append(find(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                if not (isinstance(module, str) and isinstance(attribute, str)):
                    raise ValueError("it names a function by something other than a name")
                stack.append(find(module, attribute))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                steps += len(arguments) + sum(len(a) for a in arguments if isinstance(a, Sized))
                _check(steps)  # before, since the function may copy them
                stack.append(function(*arguments))
            case "BUILD":  # attributes of an object, such as a state dict's _metadata: not wanted
                stack.pop()
            case "BINPERSID":
                name = stack.pop()
                steps += len(name)
                stack.append(stored(name))
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name:
                raise ValueError(f"it needs more than a state dict does ({name})")
        _check(steps)
    raise AssertionError("genops ends with STOP or raises")


def ordered_dict(pairs: Iterable[tuple[Any, Any]] = ()) -> collections.OrderedDict[Any, Any]:
    """collections.OrderedDict, to be returned by `find`: with the keys that are allowed here."""
    return _filled(collections.OrderedDict(), pairs)


def _filled(target: Any, pairs: Iterable[tuple[Any, Any]]) -> Any:
    """Put pairs into a dictionary. (Nested tuples may take hours to hash, large integers share one hash.)"""
    if isinstance(target, Unread):
        return target
    if not isinstance(target, dict):
        raise ValueError("it sets items of something other than a dictionary")
    for key, value in pairs:
        if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < 2**31):
            raise ValueError(f"it has a dictionary with a {type(key).__name__} for a key")
        target[key] = value
    return target


def _check(steps: int) -> None:
    if steps > MAX_STEPS:
        raise ValueError(f"it takes more than {MAX_STEPS:,} steps to read, which no state dict needs")
