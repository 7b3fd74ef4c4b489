"""Pickled weights: those of a zoo are read, and nothing that a file asks for is ever run."""

from __future__ import annotations

import copyreg
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bgremove.errors import WeightsError
from bgremove.unpickling import load_pickle


def weights() -> dict[str, Any]:
    """What a file of the zoo holds."""
    random = np.random.default_rng(0)
    model: dict[str, Any] = OrderedDict()
    model["backbone.conv.weight"] = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
    model["backbone.conv.norm.num_batches_tracked"] = np.array(17)
    model["columns first"] = np.asfortranarray(random.normal(size=(5, 7)))
    model["other byte order"] = random.normal(size=6).astype(">f4")
    model["half"], model["mask"] = np.ones((2, 2), np.float16), np.array([True, False])
    model["one"] = np.float32(0.25)
    return {
        "model": model,
        "__author__": "Detectron2 Model Zoo",
        "matching_heuristics": True,
        "more": [1, 2.5, None, -(2**70), "ä", b"\xe4", (1, "two"), {3: []}],
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.pkl"


def refused(file: Path, data: bytes) -> str:
    """The one sentence for what a file of `data` gets."""
    file.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        load_pickle(file)
    sentence = str(caught.value)
    assert sentence.startswith(f"{file} is not a file of weights that can be opened safely: ")
    assert sentence.endswith("; nothing in it was run; get it again from where it was published")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_weights_are_read_as_pickle_itself_would(file: Path, protocol: int, core: str) -> None:
    data = pickle.dumps(weights(), protocol)
    if protocol < 4:  # names are plain lines there
        data = data.replace(b"numpy._core", core.encode())
        assert f"c{core}.multiarray\n".encode() in data
    file.write_bytes(data)
    found, expected = load_pickle(file), weights()
    assert list(found) == list(expected) and found["more"] == expected["more"]
    assert type(found["model"]) is dict and list(found["model"]) == list(expected["model"])
    for name, value in expected["model"].items():
        np.testing.assert_array_equal(found["model"][name], value)
        assert found["model"][name].dtype == value.dtype.newbyteorder("=")
    for name, value in found["model"].items():
        assert value.dtype.isnative and (name == "one" or value.flags.writeable)
    assert type(found["model"]["one"]) is np.float32


def test_a_pickle_of_python_2(file: Path) -> None:
    """As its NumPy wrote them: numbers as text, which is Latin-1 here."""
    values = np.array([1.5, -2.25], "<f4")
    data = (
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + values.tobytes() + b"tbs."
    )
    file.write_bytes(data)
    np.testing.assert_array_equal(load_pickle(file)["w"], values)
    np.testing.assert_array_equal(pickle.loads(data, encoding="latin1")["w"], values)


def test_arrays_that_appear_twice_stay_one(file: Path) -> None:
    shared = np.arange(3)
    file.write_bytes(pickle.dumps([shared, {"again": shared}], 2))
    first, second = load_pickle(file)
    assert first is second["again"]


def test_an_array_without_elements(file: Path) -> None:
    file.write_bytes(pickle.dumps(np.empty((0, 4), np.float32), 4))
    assert load_pickle(file).shape == (0, 4)


LONG = 100_000  # bytes; such are left in the file at first


def big() -> dict[str, Any]:
    """Arrays, bytes and text long enough to be left in the file at first."""
    random = np.random.default_rng(0)
    values = random.normal(size=(LONG // 4, 3))
    return {
        "weight": values.astype(np.float32),
        "columns first": np.asfortranarray(values),
        "other byte order": values.astype(">f4"),
        "mask": values > 0,
        "text": "aä€" * LONG,
        "bytes": bytes(range(256)) * (LONG // 256),
    }


@pytest.mark.parametrize("protocol", range(5))
def test_what_is_long_is_read_as_pickle_itself_would(file: Path, protocol: int) -> None:
    expected = big()
    file.write_bytes(pickle.dumps([expected, expected["bytes"], b"the end"], protocol))
    found, again, end = load_pickle(file)
    assert list(found) == list(expected) and end == b"the end" and again == expected["bytes"]
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype.newbyteorder("=") and found[name].flags.writeable


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_weights_are_in_memory_once(file: Path, protocol: int) -> None:
    model = OrderedDict((str(n), np.full(2_000_000 + n, n + 0.1, np.float32)) for n in range(4))
    size = sum(array.nbytes for array in model.values())
    file.write_bytes(pickle.dumps({"model": model}, protocol))
    tracemalloc.start()
    try:
        found = load_pickle(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size < peak < size + 6_000_000  # and a block of the file
    for name, array in model.items():
        np.testing.assert_array_equal(found["model"][name], array)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def hostile(made: Path) -> dict[str, bytes]:
    """Pickles that make the file `made` when Python opens them."""
    command, code = f"touch '{made}'", f"__import__('pathlib').Path({str(made)!r}).touch()"
    array = np.array([Call(os.system, command), 1], object)
    found = {f"os.system, protocol {n}": pickle.dumps(Call(os.system, command), n) for n in range(6)}
    return found | {
        "eval": pickle.dumps(Call(eval, code)),
        "exec, deep in the weights": pickle.dumps({"model": OrderedDict(w=[Call(exec, code)])}, 2),
        "getattr of a module": pickle.dumps(Call(eval, f"getattr(__import__('os'), 'system')({command!r})")),
        "getattr by reduce": b"\x80\x02cbuiltins\ngetattr\ncbuiltins\n__import__\n"
        + (text("os") + b"\x85R" + text("system") + b"\x86R" + text(command) + b"\x85R."),
        "STACK_GLOBAL": b"\x80\x04" + text("os") + text("system") + b"\x93" + text(command) + b"\x85R.",
        "STACK_GLOBAL with dots": b"\x80\x04"
        + (text("shutil") + text("os.system") + b"\x93" + text(command) + b"\x85R."),
        "INST": b"(" + text(command) + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + text(command) + b"o.",
        "an array of objects": pickle.dumps(array, 2),
        "an array of objects, protocol 4": pickle.dumps({"model": {"w": array}}, 4),
        "after real weights": pickle.dumps(weights(), 2)[:-1]
        + b"0"
        + pickle.dumps(Call(os.system, command), 2)[2:],
    }


@pytest.mark.skipif(os.name != "posix", reason="the commands in the pickles are of POSIX")
@pytest.mark.parametrize("name", hostile(Path("x")))
def test_hostile_pickles_do_not_run(tmp_path: Path, file: Path, name: str) -> None:
    made = tmp_path / "made"
    sentence = refused(file, hostile(made)[name])
    assert not made.exists()
    assert any(word in sentence for word in ("it asks for ", "or uses ", "an array of 'O8'"))


@pytest.mark.skipif(os.name != "posix", reason="the commands in the pickles are of POSIX")
def test_these_pickles_are_hostile_indeed(tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    code = "import pickle, sys\nfor name in sys.argv[1:]:\n  with open(name, 'rb') as f: pickle.load(f)\n"
    places = {name: tmp_path / str(number) for number, name in enumerate(hostile(tmp_path))}
    for name, place in places.items():
        place.with_suffix(".pkl").write_bytes(hostile(place)[name])
    files = [place.with_suffix(".pkl") for place in places.values()]
    subprocess.run([sys.executable, "-c", code, *files], check=True)
    assert [name for name, place in places.items() if not place.exists()] == []


def test_the_name_that_was_asked_for_is_said(file: Path) -> None:
    system = f"{os.system.__module__}.system"
    assert f"it asks for {system}, which data do not need" in refused(
        file, pickle.dumps(Call(os.system, ":"))
    )


@pytest.mark.skipif(os.name != "posix", reason="the command in the pickle is of POSIX")
def test_registered_extensions_are_not_used(file: Path, tmp_path: Path) -> None:
    """They skip find_class once they were used in the process."""
    code, made = 240, tmp_path / "made"
    copyreg.add_extension("os", "system", code)
    data = b"\x80\x02\x82\xf0" + text(f"touch '{made}'") + b"\x85R."
    try:
        pickle.loads(data)
        assert made.exists()
        made.unlink()
        assert "or uses EXT1" in refused(file, data)
        assert "or uses EXT4" in refused(file, b"\x80\x02\x84" + struct.pack("<i", code) + b".")
        assert not made.exists()
    finally:
        copyreg.remove_extension("os", "system", code)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"Pid\n.", "or uses PERSID"),
        (b"\x80\x02K\x01Q.", "or uses BINPERSID"),
        (pickle.dumps(object(), 2), r"asks for __builtin__\.object"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "or uses NEWOBJ, which data do not need"),
        (b"\x80\x02cnumpy\nndarray.tofile\n.", "asks for numpy.ndarray.tofile"),
        (b"\x80\x04" + text("numpy") + text("ndarray.tofile") + b"\x93.", "asks for numpy.ndarray.tofile"),
        (pickle.dumps({1, 2}, 4), "or uses EMPTY_SET"),
        (pickle.dumps(bytearray(4), 5), "or uses BYTEARRAY8"),
        (pickle.dumps(np.arange(4), 5), r"asks for numpy\._core\.numeric\._frombuffer"),
        (b"\x80\x02cnumpy\nfrombuffer\n.", "asks for numpy.frombuffer"),
        (b"\x80\x02cnumpy\nload\n.", "asks for numpy.load"),
        (b"\x80\x02cnumpy\nndarray\n.", "it holds a numpy.ndarray"),
        (b"\x80\x02cnumpy\nndarray\nK\x05\x85R.", "calls what is not meant to be called"),
        (b"\x80\x02K\x01K\x05\x85R.", "calls what is not meant to be called"),
        (b"\x80\x02cnumpy\nndarray\n}U\x01aK\x01sb.", "changes what is not meant to be changed"),
        (b"\x80\x02ccollections\nOrderedDict\n)R}U\x01aK\x01sb.", "changes what is not meant"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", r"it is broken \(TypeError\)"),
        (b"\x80\x02c_codecs\nencode\n" + text("x") + text("rot13") + b"\x86R.", "encoding 'rot13'"),
        (pickle.dumps(np.array(["text"]), 2), "an array of 'U4', not of numbers"),
        (pickle.dumps(np.zeros(1, "f4,i2"), 2), "an array of 'V6', not of numbers"),
        (pickle.dumps(np.array([None]), 2), "an array of 'O8', not of numbers"),
        (pickle.dumps(np.datetime64("2020-01-01"), 2), "an array of 'M8', not of numbers"),
        (b"<!DOCTYPE html><p>404", "it is no pickle"),
        (b"\x89PNG\r\n", "it is no pickle"),
        (b"PK\x03\x04, as PyTorch writes", "it is no pickle"),
        (b"", "it is cut short"),
        (b"\x80\x02]q\x00h\x00a.", "nested too deeply"),
        (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", "nested too deeply"),
        (b"\x80\x09N.", r"it is broken \(ValueError\)"),
    ],
)  # fmt: skip
def test_everything_else_gets_one_sentence(file: Path, data: bytes, why: str) -> None:
    refused(file, data)
    with pytest.raises(WeightsError, match=why):
        load_pickle(file)


def reconstruct(shape: bytes, dtype: bytes, data: bytes) -> bytes:
    """An array of float32 by its instructions, whatever its shape says."""
    return (
        b"\x80\x04cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + shape + b"C\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R" + dtype + b"\x89" + data + b"tb."
    )


RECORDS = b"(K\x03U\x01|K\x01K\x01K\x01tb"
PLAIN = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
HUGE = b"\x8a\x06" + (2**40).to_bytes(6, "little")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (reconstruct(HUGE + b"\x85", PLAIN, b"C\x08" + bytes(8)), r"broken \(ValueError\)"),
        (reconstruct(b"J\xff\xff\xff\xff\x85", PLAIN, b"C\x08" + bytes(8)), "an array of shape"),
        (reconstruct(b"K\x02\x85", PLAIN, b"]"), "an array of Python objects"),
        (reconstruct(b"K\x02\x85", PLAIN, b"C\x07" + bytes(7)), r"broken \(ValueError\)"),
        (reconstruct(b"K\x02\x85", RECORDS, b"C\x08" + bytes(8)), "array of records"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x", "cut short"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"x", "cut short"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x", "cut short"),
        (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x", "cut short"),
        (b"\x80\x02U\x00r" + struct.pack("<I", 2**32 - 1) + b"0.", "broken|cut short"),
        (  # one text of a megabyte, encoded ten thousand times
            b"\x80\x02c_codecs\nencode\nq\x00" + text("x" * 1_000_000) + text("latin1")
            + b"\x86q\x010" + b"h\x00h\x01R" * 10_000 + b".",
            "far more than its own size",
        ),
    ],
)  # fmt: skip
def test_no_file_takes_more_memory_than_its_size_allows(file: Path, data: bytes, why: str) -> None:
    file.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=why):
            load_pickle(file)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(data) + 2_000_000
    finally:
        tracemalloc.stop()


def long_array(shape: bytes, data: bytes) -> bytes:
    """A pickle of an array of float32 whose numbers are the instruction `data`."""
    return reconstruct(shape, PLAIN, data)


def length(count: int) -> bytes:
    return b"J" + struct.pack("<i", count) + b"\x85"


@pytest.mark.parametrize("form", ["bytes", "text of Python 2", "text", "bytes in a frame"])
def test_the_numbers_of_a_long_array_in_any_form(file: Path, form: str) -> None:
    values = np.random.default_rng(0).normal(size=LONG // 4).astype("<f4")
    raw = values.tobytes()
    encoded = raw.decode("latin1").encode()
    file.write_bytes(
        {
            "bytes": long_array(length(len(values)), b"B" + struct.pack("<I", LONG) + raw),
            "text of Python 2": long_array(length(len(values)), b"T" + struct.pack("<i", LONG) + raw),
            "text": long_array(length(len(values)), b"X" + struct.pack("<I", len(encoded)) + encoded),
            "bytes in a frame": in_a_frame(
                long_array(length(len(values)), b"B" + struct.pack("<I", LONG) + raw)
            ),
        }[form]
    )
    np.testing.assert_array_equal(load_pickle(file), values)


def in_a_frame(data: bytes) -> bytes:
    return data[:2] + b"\x95" + struct.pack("<Q", len(data) - 2) + data[2:]


def many(count: int) -> bytes:
    """As many arrays of the same long bytes."""
    one = b"B" + struct.pack("<I", LONG) + bytes(LONG) + b"q\x09"
    array = long_array(length(LONG // 4), one)[:-1]
    again = long_array(length(LONG // 4), b"h\x09")[2:-1]
    return b"\x80\x04(" + array[2:] + again * (count - 1) + b"l."


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"B" + struct.pack("<I", LONG - 4) + bytes(LONG - 4), r"broken \(ValueError\)"),
        (b"B" + struct.pack("<I", LONG + 4) + bytes(LONG + 4), r"broken \(ValueError\)"),
        (b"X" + struct.pack("<I", LONG + 1) + bytes(LONG + 1), r"broken \(ValueError\)"),
        (b"X" + struct.pack("<I", LONG) + b"\xc3\xa4" * (LONG // 2), r"broken \(ValueError\)"),
        (b"X" + struct.pack("<I", 3 * LONG) + "€".encode() * LONG, r"broken \(UnicodeEncodeError\)"),
        (b"X" + struct.pack("<I", LONG + 1) + bytes(LONG) + b"\xc3", r"broken \(UnicodeDecodeError\)"),
        (b"X" + struct.pack("<I", LONG) + b"\xff" * LONG, r"broken \(UnicodeDecodeError\)"),
        (b"T" + struct.pack("<i", -LONG) + bytes(LONG), r"broken \(UnpicklingError\)"),
        (b"B" + struct.pack("<I", 2 * LONG) + bytes(LONG), "cut short"),
        (b"\x8e" + struct.pack("<Q", LONG * LONG) + bytes(LONG), "cut short"),
        (b"B" + struct.pack("<I", LONG) + bytes(LONG) + b"cnumpy\nload\n", "asks for numpy.load"),
        (
            b"c_codecs\nencode\nB" + struct.pack("<I", LONG) + bytes(LONG) + text("latin1") + b"\x86R",
            r"broken \(TypeError\)",
        ),
    ],
)
def test_long_data_that_do_not_fit(file: Path, data: bytes, why: str) -> None:
    refused(file, long_array(length(LONG // 4), data))
    with pytest.raises(WeightsError, match=why):
        load_pickle(file)


def test_a_few_arrays_of_the_same_bytes_but_not_many(file: Path) -> None:
    file.write_bytes(many(3))
    first, *others = load_pickle(file)
    assert len(others) == 2 and all(one is not first and (one == first).all() for one in others)
    assert "far more than its own size" in refused(file, many(50))


def test_a_file_cut_short_anywhere(file: Path) -> None:
    data = pickle.dumps(weights(), 2)
    for end in [*range(0, len(data) - 1, 29), len(data) - 1]:
        refused(file, data[:end])


def test_a_file_changed_anywhere_gives_data_or_a_sentence(file: Path) -> None:
    random = np.random.default_rng(0)
    data = pickle.dumps(weights(), 2)
    outcomes = set()
    for _ in range(100):
        broken = bytearray(data)
        broken[random.integers(len(data))] = random.integers(256)
        file.write_bytes(broken)
        try:
            load_pickle(file)
            outcomes.add("data")
        except WeightsError:
            outcomes.add("sentence")
    assert outcomes == {"data", "sentence"}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot read .*none\.pkl: No such file"):
        load_pickle(tmp_path / "none.pkl")
