"""Random numbers by counter in NumPy, and hashes of 64 bits: no state, so that any part can be had by itself.

Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The hash is the last step of
SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

import numpy as np

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_MULTIPLIER = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))


def philox_words(key: np.ndarray, *counter: np.ndarray | int) -> tuple[np.ndarray, ...]:
    """The four 32-bit words of each block.

    Args:
        key: 64-bit keys, uint64.
        *counter: The four 32-bit words of the counter, lowest first; all broadcast with ``key``.

    Returns:
        Four arrays of uint64 below ``2^32``.
    """
    shape = np.broadcast_shapes(key.shape, *(np.shape(word) for word in counter))
    word = [np.broadcast_to(np.asarray(part).astype(np.uint64), shape) for part in counter]
    first, second = key & _LOW, key >> _HALF
    for _ in range(10):
        product0, product1 = word[0] * _MULTIPLIER[0], word[2] * _MULTIPLIER[1]
        word = [
            (product1 >> _HALF) ^ word[1] ^ first,
            product1 & _LOW,
            (product0 >> _HALF) ^ word[3] ^ second,
            product0 & _LOW,
        ]
        first, second = (first + _WEYL[0]) & _LOW, (second + _WEYL[1]) & _LOW
    return tuple(word)


def unit_interval(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Two words as a multiple of ``2^-53`` in ``[0, 1)``, float64."""
    return ((high << _HALF | low) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mixed(value: np.ndarray) -> np.ndarray:
    """A bijective hash of 64 bits, uint64."""
    value = (value + _GOLDEN).astype(np.uint64)
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return value ^ value >> np.uint64(31)
