"""Whole numbers drawn by counter, as ``csrc/cpu/sampled_rows.h`` draws them."""

import numpy as np

from gnnkit.ops._philox import philox_words, unit_interval


def draws_below(size: list[int], key: int, words: tuple[int, int, int]) -> list[int]:
    """Draw ``n``, uniform in ``[0, size[n])``.

    Draws ``2 b`` and ``2 b + 1`` take two words each of the block with counter ``(b, *words)``, as a number in
    ``[0, 1)`` times ``size``.
    """
    block = np.arange((len(size) + 1) // 2)
    first, second, third, fourth = philox_words(np.array(key % 2**64, np.uint64), block, *words)
    chance = np.stack([unit_interval(first, second), unit_interval(third, fourth)], axis=1).reshape(-1)
    return (chance[: len(size)] * np.array(size)).astype(np.int64).tolist()
