import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from gnnkit.data import load_pickle
from gnnkit.errors import DataError


def equal(first, second) -> bool:
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return (
            type(first) is type(second)
            and list(first) == list(second)
            and all(equal(first[k], second[k]) for k in first)
        )
    if isinstance(first, list | tuple):
        return type(first) is type(second) and len(first) == len(second) and all(map(equal, first, second))
    return type(first) is type(second) and first == second


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "content",
    [
        {"train": np.arange(5), "val": np.array([], dtype=np.int32), "test": np.eye(3)},
        OrderedDict(a=np.float32(1.5), b=[True, None, "text", b"bytes"], c=(1, 2.5, 10**30)),
        [{1, 2}, frozenset({3}), np.array(["a", "bc"]), np.array([[True, False]])],
    ],
)
def test_arrays_and_containers_are_read(tmp_path: Path, protocol: int, content) -> None:
    path = tmp_path / "file.pickle"
    path.write_bytes(pickle.dumps(content, protocol))
    assert equal(load_pickle(path), content)


def test_names_of_numpy_1_and_of_python_2_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file.pickle"
    path.write_bytes(pickle.dumps(np.arange(3), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert load_pickle(path).tolist() == [0, 1, 2]
    path.write_bytes(b"c__builtin__\nset\n((lI1\naI2\natR.")
    assert load_pickle(path) == {1, 2}


class Evil:
    def __init__(self, function, *arguments) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_names_a_command_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "proof"
    evil = pickle.dumps({"train": Evil(os.system, f"touch {proof}")}, protocol)
    pickle.loads(evil)
    assert proof.exists(), "the pickle must be able to do harm for this test to mean anything"
    proof.unlink()
    (tmp_path / "evil.pickle").write_bytes(evil)
    with pytest.raises(DataError, match=r"evil\.pickle is refused: the pickle names (posix|nt)\.system"):
        load_pickle(tmp_path / "evil.pickle")
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (pickle.dumps(Evil(eval, "1 + 1")), "builtins.eval"),
        (pickle.dumps(Evil(getattr, 1, "real")), "builtins.getattr"),
        (pickle.dumps(Path), "pathlib"),
        (pickle.dumps(np.load), "numpy.load"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", "numpy.ndarray.dump"),
        (b"Pid\n.", "persistent id"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / "file.pickle"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"names {name}"):
        load_pickle(path)


@pytest.mark.parametrize("flags", [1, 63, -1])
def test_the_state_of_a_dtype_cannot_turn_numbers_into_pointers(tmp_path: Path, flags: int) -> None:
    class Dtype:
        def __reduce__(self):
            return np.dtype, ("i8", False, True), (3, "<", None, None, None, -1, -1, flags)

    class Array:
        def __reduce__(self):
            function, arguments, _ = np.arange(3).__reduce__()
            return function, arguments, (1, (3,), Dtype(), False, np.array([7, 8, 9]).tobytes())

    path = tmp_path / "file.pickle"
    path.write_bytes(pickle.dumps(Array(), 2))
    loaded = load_pickle(path)
    assert loaded.dtype == np.dtype("i8")
    assert not loaded.dtype.hasobject
    assert loaded.tolist() == [7, 8, 9]


def test_arrays_of_other_byte_orders_layouts_and_objects(tmp_path: Path) -> None:
    path = tmp_path / "file.pickle"
    for array in (
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.empty((2, 0, 3)),
        np.array(5),
    ):
        path.write_bytes(pickle.dumps(array, 2))
        assert np.array_equal(load_pickle(path), array)
        assert load_pickle(path).shape == array.shape
    nested = np.empty(2, dtype=object)
    nested[:] = [np.arange(3), [np.float64(1)]]
    path.write_bytes(pickle.dumps(nested, 2))
    loaded = load_pickle(path)
    assert loaded[0].tolist() == [0, 1, 2]
    assert loaded[1] == [1.0]


def test_structured_arrays_and_cycles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.pickle"
    path.write_bytes(pickle.dumps(np.zeros(2, dtype=[("a", "i4")])))
    with pytest.raises(DataError, match="dtype"):
        load_pickle(path)
    cycle: list = []
    cycle.append(cycle)
    path.write_bytes(pickle.dumps(cycle))
    with pytest.raises(DataError, match="in itself"):
        load_pickle(path)
    path.write_bytes(b"cbuiltins\nbytes\n(I1000000000000\ntR.")
    with pytest.raises(DataError, match="bytes"):
        load_pickle(path)
    path.write_bytes(b"cnumpy\nndarray\n((I10\nttR.")
    with pytest.raises(DataError, match="not callable"):
        load_pickle(path)
    path.write_bytes(b"cbuiltins\nset\n.")
    with pytest.raises(DataError, match="class or function"):
        load_pickle(path)


def test_only_latin1_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "file.pickle"
    path.write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")
    with pytest.raises(DataError, match="rot13"):
        load_pickle(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    content = pickle.dumps({"train": np.arange(50), "val": [1, "a", None]}, 4)
    path = tmp_path / "file.pickle"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="not a complete pickle"):
            load_pickle(path)


def test_damage_gives_data_errors_or_other_data_but_nothing_else(tmp_path: Path) -> None:
    content = bytearray(pickle.dumps({"train": np.arange(20), "val": (1, 2)}, 2))
    path = tmp_path / "file.pickle"
    refused = 0
    for position in range(len(content)):
        damaged = content.copy()
        damaged[position] ^= 0x15
        path.write_bytes(damaged)
        try:
            load_pickle(path)
        except DataError:
            refused += 1
    assert refused > len(content) // 4


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        load_pickle(tmp_path / "missing.pickle")
