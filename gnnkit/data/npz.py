"""Archives of NumPy arrays, read without NumPy's unpickling."""

import io
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnnkit.data.archives import MAX_MEMBER_BYTES
from gnnkit.data.restricted_pickle import read_pickles
from gnnkit.errors import DataError

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Reads some arrays of an ``.npz`` file.

    An array of numbers is read as NumPy writes it. An array of objects is a pickle, and read as
    :func:`gnnkit.data.load_pickle` reads one; of such an array without dimensions, its one object is given.

    Args:
        path: The archive.
        keys: Names of the arrays.

    Raises:
        DataError: If the file cannot be read, is truncated or damaged, lacks an array, holds one of an unexpected kind,
            or a pickle in it names what data have no need of.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            missing = [key for key in keys if f"{key}.npy" not in archive.namelist()]
            if missing:
                found = ", ".join(name.removesuffix(".npy") for name in archive.namelist())
                raise DataError(f"{path} has no array {', '.join(missing)}, only {found}")
            return {key: _read_member(archive, path, key) for key in keys}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is damaged or truncated: {error}. Fetch it again.") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _read_member(archive: zipfile.ZipFile, path: Path, key: str) -> Any:
    where = f"{path}, {key}"
    size = archive.getinfo(f"{key}.npy").file_size
    if size > MAX_MEMBER_BYTES:
        raise DataError(f"{where} has {size} bytes, expected at most {MAX_MEMBER_BYTES}")
    content = archive.read(f"{key}.npy")
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"version {version} of the format")
        shape, _, dtype = _HEADERS[version](stream)
        if not dtype.hasobject:
            if dtype.kind not in "biuf" or int(np.prod(shape, dtype=object)) * dtype.itemsize > size:
                raise ValueError(f"a header of {dtype} and shape {shape}")
            return np.load(io.BytesIO(content), allow_pickle=False)
    # NumPy reads the header as Python, and lets through what Python says of it.
    except (ValueError, SyntaxError, tokenize.TokenError) as error:
        raise DataError(f"{where} is damaged, or no array of numbers: {error}") from error
    (array,) = read_pickles(content[stream.tell() :], where, encoding="latin1")
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise DataError(f"{where} is damaged: expected an array of shape {shape}")
    return array.item() if array.shape == () else array
