"""torch_scatter element by element, in NumPy: slow, and nothing like rows, segments or kernels."""

import math
from collections import defaultdict

import numpy as np


def spread(index: np.ndarray, shape: tuple[int, ...], dim: int) -> np.ndarray:
    """A vector along ``dim``, anything else filled up behind; then broadcast."""
    missing = len(shape) - index.ndim
    if index.ndim == 1:
        index = index.reshape((1,) * dim + index.shape + (1,) * (len(shape) - dim - 1))
    else:
        index = index.reshape(index.shape + (1,) * missing)
    return np.broadcast_to(index, shape)


def members(src: np.ndarray, index: np.ndarray, dim: int) -> dict[tuple[int, ...], list]:
    """Values and their positions along ``dim``, for each place of the result."""
    index = spread(index, src.shape, dim)
    found = defaultdict(list)
    for place in np.ndindex(*src.shape):
        target = (*place[:dim], int(index[place]), *place[dim + 1 :])
        found[target].append((src[place].item(), place[dim]))
    return found


def csr_members(src: np.ndarray, indptr: np.ndarray, dim: int) -> dict[tuple[int, ...], list]:
    """The same between boundaries."""
    lead = np.broadcast_to(indptr, (*src.shape[:dim], indptr.shape[-1]))
    found = defaultdict(list)
    for place in np.ndindex(*src.shape[:dim], max(indptr.shape[-1] - 1, 0), *src.shape[dim + 1 :]):
        bounds = lead[place[:dim]]
        for e in range(bounds[place[dim]], bounds[place[dim] + 1]):
            found[place].append((src[(*place[:dim], e, *place[dim + 1 :])].item(), e))
    return found


def divide(value, count: int, integer: bool):
    return value // max(count, 1) if integer else value / max(count, 1)


def reduce_members(found, shape, length: int, reduce: str, integer: bool, out=None):
    """Result and positions; ``out`` takes part."""
    result = np.zeros(shape, dtype=object)
    position = np.full(shape, length)
    for place in np.ndindex(*shape):
        values = [value for value, _ in found[place]]
        start = None if out is None else out[place].item()
        if reduce in ("sum", "add"):
            result[place] = sum(values) + (start or 0)
        elif reduce == "mul":
            result[place] = math.prod(values) * (1 if start is None else start)
        elif reduce == "mean":
            result[place] = divide(sum(values) + (start or 0), len(values), integer)
        else:
            sign = 1 if reduce == "max" else -1
            best = start
            for value, where in found[place]:
                if best is None or sign * value > sign * best:
                    best, position[place] = value, where
            result[place] = 0 if best is None else best
    return result.astype(np.int64 if integer else np.float64), position


def composite(found, shape, name: str, out=None) -> np.ndarray:
    """Per place of the result: logsumexp, std or std of the population."""
    result = np.zeros(shape)
    for place in np.ndindex(*shape):
        values = np.array([value for value, _ in found[place]])
        if name == "logsumexp":
            terms = values if out is None else np.append(values, out[place])
            if len(terms):
                top = terms.max()
                result[place] = top if np.isinf(top) else top + np.log(np.exp(terms - top).sum())
        elif len(values):
            squares = ((values - values.mean()) ** 2).sum()
            result[place] = np.sqrt(squares / ((max(len(values) - 1, 1) if name == "std" else len(values)) + 1e-6))
    return result


def softmax(src: np.ndarray, index: np.ndarray, dim: int) -> np.ndarray:
    index = spread(index, src.shape, dim)
    result = np.zeros(src.shape)
    for place in np.ndindex(*src.shape):
        line = (*place[:dim], slice(None), *place[dim + 1 :])
        same = src[line][index[line] == index[place]]
        result[place] = np.exp(src[place] - same.max()) / np.exp(same - same.max()).sum()
    return result
