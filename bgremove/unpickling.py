"""Weights that come as a pickle, read without running anything that the file says.

A pickle is a program: opening one with :func:`pickle.load` does what its author wrote, whatever that is.
Detectron2's zoo publishes its networks so. :func:`load_pickle` follows only the instructions that data
need, and only a few names, none of which is looked up: each stands for some lines of this module, so that
not even NumPy's own pickle code sees what the file says. What the file can make is bounded by its size.
What is long stays in the file until its array wants it, so that weights are in memory once.
"""

from __future__ import annotations

import codecs
import math
import pickle
import pickletools
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt

from bgremove.errors import WeightsError

# What is written for dictionaries, lists, tuples, text, bytes and numbers, and for calls of the names below.
_INSTRUCTIONS = {
    op.code.encode("latin1")[0]
    for op in pickletools.opcodes
    if op.name
    in set(
        "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE "
        "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
        "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
        "BINBYTES SHORT_BINBYTES BINBYTES8 "
        "EMPTY_DICT DICT SETITEM SETITEMS EMPTY_LIST LIST APPEND APPENDS "
        "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
        "PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD".split()
    )
}
_NAMES = {op.code.encode("latin1")[0]: op.name for op in pickletools.opcodes}
_PLAIN = (str, bytes, int, float, bool, type(None))
_DEEPEST = 50  # levels of lists in lists; weights have three
_LONG = 1 << 16  # bytes or text from this length on stay in the file at first
_BLOCK = 1 << 20  # bytes that are read of them at once
_Encoding = Literal["latin1", "utf-8"]


def load_pickle(path: Path) -> Any:
    """What the pickle at `path` holds: dictionaries, lists, tuples, text, bytes, numbers and NumPy arrays.

    Text of Python 2 is read as Latin-1, as Detectron2 does. Arrays are of booleans or numbers, writable and
    in the machine's own byte order; an ``OrderedDict`` becomes a dictionary.

    Raises:
        WeightsError: if it cannot be read, is no pickle, is cut short, or asks for anything else; nothing
            that it asks for is run.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _plain(_Unpickler(_Bounded(file, size), _Budget(2 * size + (1 << 20))).load())
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    except _Refused as refused:
        why, cause = str(refused), refused.__cause__
    except EOFError as error:
        why, cause = "it is cut short", error
    except Exception as error:  # a broken or hostile pickle can fail in any way
        why, cause = f"it is broken ({type(error).__name__})", error
    raise WeightsError(
        f"{path} is not a file of weights that can be opened safely: {why}; nothing in it was run; "
        "get it again from where it was published"
    ) from cause


class _Refused(Exception):
    """Says what the file asks for and does not get."""


class _Budget:
    """How many bytes may still be made; the file itself has room for what it needs."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _Refused("it unfolds to far more than its own size")


class _Bounded:
    """A file that never gives, or makes room for, more than it has left."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self._file, self._left = file, left

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            raise EOFError
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line

    def skip(self, count: int) -> int:
        """Go over `count` bytes without reading them; where they begin."""
        if count > self._left:
            raise EOFError
        self._left -= count
        start = self._file.tell()
        self._file.seek(count, 1)
        return start

    def blocks(self, start: int, count: int) -> Iterator[bytes]:
        """`count` bytes from `start`, a block at a time; after all of them, the place is what it was."""
        place = self._file.tell()
        self._file.seek(start)
        for done in range(0, count, _BLOCK):
            block = self._file.read(min(_BLOCK, count - done))
            if len(block) < min(_BLOCK, count - done):
                raise EOFError
            yield block
        self._file.seek(place)


class _Stored:
    """Long bytes, or text, that are in the file still.

    Attributes:
        count: their bytes in the file; no fewer than are meant, which as UTF-8 take one or two.
        is_text: whether they are text; as bytes, UTF-8 stands for text in Latin-1.
    """

    __slots__ = ("_encoding", "_file", "_start", "count", "is_text")

    def __init__(self, file: _Bounded, start: int, count: int, encoding: _Encoding, is_text: bool) -> None:
        self._file, self._start, self._encoding = file, start, encoding
        self.count, self.is_text = count, is_text

    def encoded(self) -> _Stored:
        """The same text as bytes."""
        if not self.is_text:
            raise TypeError
        return _Stored(self._file, self._start, self.count, self._encoding, False)

    def fill(self, buffer: memoryview) -> None:
        """Write the bytes, which must be just as many, into `buffer`."""
        done = 0
        for block in self._bytes():
            buffer[done : done + len(block)] = block  # a ValueError if they are too many
            done += len(block)
        if done != len(buffer):
            raise ValueError

    def value(self) -> bytes | str:
        if not self.is_text:
            return b"".join(self._bytes())
        data = b"".join(self._file.blocks(self._start, self.count))
        return str(data, self._encoding, "surrogatepass")

    def _bytes(self) -> Iterator[bytes]:
        blocks = self._file.blocks(self._start, self.count)
        if self._encoding == "latin1":
            yield from blocks
            return
        decoder = codecs.getincrementaldecoder("utf-8")()
        for block in blocks:
            yield decoder.decode(block).encode("latin1")
        decoder.decode(b"", final=True)


class _Function:
    """What a name in the file stands for; callable, and nothing else."""

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[..., Any] | None = None) -> None:
        self.name, self.make = name, make


class _Dtype:
    """A NumPy type being read: its name first, then its byte order."""

    __slots__ = ("value",)

    def __init__(self, name: str, align: object = False, copy: object = False) -> None:
        if type(name) is not str or not re.fullmatch(r"[<>|=]?[biufc]\d{1,2}", name):
            raise _Refused(f"it holds an array of {name!r}, not of numbers")
        self.value = np.dtype(name)

    def restore(self, state: Any) -> None:
        _version, order, subarray, names, fields, *_ = state
        if type(order) is not str or order not in ("<", ">", "|", "=") or (subarray or names or fields):
            raise _Refused("it holds an array of records, not of numbers")
        self.value = self.value.newbyteorder(order)  # type: ignore[arg-type]


class _Array:
    """A NumPy array being read."""

    __slots__ = ("_budget", "value")

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget
        self.value: npt.NDArray[Any] | None = None

    def restore(self, state: Any) -> None:
        _version, shape, dtype, is_fortran, data = state
        if type(dtype) is not _Dtype or type(data) not in (bytes, str, _Stored):
            raise _Refused("it holds an array of Python objects, not of numbers")
        if type(shape) is not tuple or not all(type(length) is int and length >= 0 for length in shape):
            raise _Refused(f"it holds an array of shape {shape!r}")
        flat = self._filled(data, math.prod(shape) * dtype.value.itemsize).view(dtype.value)
        shaped = flat.reshape(shape, order="F" if is_fortran else "C")
        self.value = np.asarray(shaped, dtype.value.newbyteorder("="), order="C")

    def _filled(self, data: Any, count: int) -> npt.NDArray[np.uint8]:
        """`data` as `count` bytes that can be written to; a ValueError if it has another number of them."""
        if count > (data.count if type(data) is _Stored else len(data)):
            raise ValueError
        self._budget.take(count)
        flat = np.empty(count, np.uint8)
        if type(data) is _Stored:
            data.fill(flat.data)
        else:
            flat.data[:] = _encode(data)
        return flat


def _encode(text: Any) -> bytes:
    """Bytes, which older pickles write as text."""
    return text if type(text) is bytes else str.encode(text, "latin1")


class _Unpickler(pickle._Unpickler):
    """Python's own reader of pickles, in Python, without the instructions that data do not need."""

    dispatch: ClassVar[dict[int, Any]] = {
        code: method for code, method in pickle._Unpickler.dispatch.items() if code in _INSTRUCTIONS
    }
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    _unframer: Any

    def __init__(self, file: _Bounded, budget: _Budget) -> None:
        super().__init__(file, encoding="latin1")
        self._bounded = file
        self._names = _names(budget)

    def load(self) -> Any:
        try:
            return super().load()
        except KeyError as error:  # of the instruction that comes next, or of something never remembered
            code = error.args[0] if error.args else None
            if code in _NAMES and code not in _INSTRUCTIONS:
                raise _Refused(f"it is no pickle, or uses {_NAMES[code]}, which data do not need") from error
            raise _Refused("it is no pickle") from error

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._names:
            raise _Refused(f"it asks for {module}.{name}, which data do not need")
        return self._names[module, name]

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if type(function) is not _Function or function.make is None or type(arguments) is not tuple:
            raise _Refused("it calls what is not meant to be called")
        self.stack[-1] = function.make(*arguments)

    def load_build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if not isinstance(made, (_Array, _Dtype)):
            raise _Refused("it changes what is not meant to be changed")
        made.restore(state)

    def load_long_data(self, length: str, encoding: _Encoding, is_text: bool) -> None:
        """Bytes or text after their `length`, in the form of :mod:`struct`."""
        [count] = struct.unpack(length, self.read(struct.calcsize(length)))
        if count < 0:
            raise pickle.UnpicklingError
        if count >= _LONG and self._unframer.current_frame is None:
            start = self._bounded.skip(count)
            self.append(_Stored(self._bounded, start, count, encoding, is_text))
        else:
            data = self.read(count)
            self.append(str(data, encoding, "surrogatepass") if is_text else data)

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build
    for _code, *_form in (
        (pickle.BINBYTES, "<I", "latin1", False),
        (pickle.BINBYTES8, "<Q", "latin1", False),
        (pickle.BINSTRING, "<i", "latin1", True),
        (pickle.BINUNICODE, "<I", "utf-8", True),
        (pickle.BINUNICODE8, "<Q", "utf-8", True),
    ):
        dispatch[_code[0]] = lambda self, form=_form: self.load_long_data(*form)


def _names(budget: _Budget) -> dict[tuple[str, str], _Function]:
    """What each allowed name stands for in one file."""
    ndarray = _Function("numpy.ndarray")

    def reconstruct(kind: object, shape: object, code: object) -> _Array:
        if kind is not ndarray:
            raise _Refused("it holds an array of an unknown kind")
        return _Array(budget)  # shape and code are stand-ins, which BUILD replaces

    def scalar(dtype: _Dtype, data: Any) -> np.generic:
        if type(dtype) is not _Dtype:
            raise _Refused("it holds a number of an unknown kind")
        [number] = np.frombuffer(_encode(data), dtype.value)
        return cast(np.generic, number)

    def encode(text: str | _Stored, encoding: str) -> bytes | _Stored:
        if encoding not in ("latin1", "latin-1"):
            raise _Refused(f"it asks for the encoding {encoding!r}")
        if isinstance(text, _Stored):
            budget.take(text.count)
            return text.encoded()
        budget.take(len(text))
        return str.encode(text, "latin1")

    names = {
        ("numpy", "ndarray"): ndarray,
        ("numpy", "dtype"): _Function("numpy.dtype", _Dtype),
        ("collections", "OrderedDict"): _Function("collections.OrderedDict", lambda: {}),
        ("_codecs", "encode"): _Function("_codecs.encode", encode),
    }
    for core in ("numpy.core", "numpy._core"):  # before and since NumPy 2
        names[f"{core}.multiarray", "_reconstruct"] = _Function("_reconstruct", reconstruct)
        names[f"{core}.multiarray", "scalar"] = _Function("scalar", scalar)
    return names


def _plain(value: Any) -> Any:
    """`value` with real arrays in place of those being read, and nothing in it but data."""
    done: dict[int, Any] = {}
    unfinished: set[int] = set()

    def convert(value: Any, depth: int) -> Any:
        if type(value) in _PLAIN or isinstance(value, (np.number, np.bool_)):
            return value
        if type(value) is _Array and value.value is not None:
            return value.value
        if type(value) is _Stored:
            return done[id(value)] if id(value) in done else done.setdefault(id(value), value.value())
        if type(value) not in (dict, list, tuple):
            raise _Refused(f"it holds a {getattr(value, 'name', type(value).__name__.strip('_').lower())}")
        if id(value) in done:
            return done[id(value)]
        if depth > _DEEPEST or id(value) in unfinished:
            raise _Refused("it is nested too deeply")
        unfinished.add(id(value))
        if type(value) is dict:
            made: Any = {convert(key, depth + 1): convert(one, depth + 1) for key, one in value.items()}
        else:
            made = type(value)(convert(one, depth + 1) for one in value)
        unfinished.discard(id(value))
        return done.setdefault(id(value), made)

    return convert(value, 0)
