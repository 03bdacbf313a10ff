"""Sets of nodes that random walks visit; see :class:`gnnkit.sequence.WalkTokens`."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.ops._library import define
from gnnkit.ops.node_sets import moved

if TYPE_CHECKING:
    import numpy as np


def reference(
    rowptr: Tensor, col: Tensor, max_length: int, num_walks: int, repeats: int, seed: int
) -> tuple[Tensor, Tensor]:
    """All walks of one length one step further at a time.

    Steps ``2 b`` and ``2 b + 1`` of a walk take the words of the Philox block with key ``seed`` and counter
    ``(b, walk, node, length * 2^16 + repeat)``: two words each, as a number in ``[0, 1)`` times the degree.

    Args:
        rowptr: Boundaries of the out-edges of each node, int32 or int64 ``[N + 1]``, at most ``2^32`` nodes.
        col: Where they lead, ``[E]``.
        max_length: Steps ``m`` of the longest walks, at least 0 and below ``2^16``.
        num_walks: Walks ``M`` for each token, 1 to ``2^16``.
        repeats: Tokens ``s`` of each length, 1 to ``2^16``.
        seed: 64 bits.

    Returns:
        Members of the tokens, int64, and where those of each token begin, int64 ``[N (m s + 1) + 1]``. For each node:
        ``s`` tokens of the longest walks, and so on down to those of one step, then the node itself. Members ascend.
    """
    import numpy as np

    bounds, target = rowptr.cpu().numpy().astype(np.int64), col.cpu().numpy()
    size, per_node = len(bounds) - 1, max_length * repeats + 1
    node = np.arange(size)
    met = [(node * per_node + per_node - 1) * size + node]
    for length in range(1, max_length + 1):
        token = node[:, None] * per_node + (max_length - length) * repeats + np.arange(repeats)
        at = np.broadcast_to(node[:, None, None], (size, repeats, num_walks))
        met.append((token * size + node[:, None]).reshape(-1))
        for step in range(length):
            at = moved(bounds, target, at, _chances(node, repeats, num_walks, step, length, seed))
            met.append((token[:, :, None] * size + at).reshape(-1))
    found = np.unique(np.concatenate(met))
    token_ptr = np.zeros(size * per_node + 1, np.int64)
    np.cumsum(np.bincount(found // max(size, 1), minlength=size * per_node), out=token_ptr[1:])
    return torch.from_numpy(found % max(size, 1)).to(col.device), torch.from_numpy(token_ptr).to(col.device)


def _chances(node: "np.ndarray", repeats: int, num_walks: int, step: int, length: int, seed: int) -> "np.ndarray":
    """What chooses the edge of a step of all walks of one length, ``[N, s, M]``."""
    import numpy as np

    from gnnkit.ops._philox import philox_words, unit_interval

    which = length * 2**16 + np.arange(repeats)[:, None]
    key = np.array(seed % 2**64, np.uint64)
    words = philox_words(key, step // 2, np.arange(num_walks), node[:, None, None], which)
    return unit_interval(*words[step % 2 * 2 :][:2])


def _fake(
    rowptr: Tensor, col: Tensor, max_length: int, num_walks: int, repeats: int, seed: int
) -> tuple[Tensor, Tensor]:
    tokens = (rowptr.size(0) - 1) * (max_length * repeats + 1)
    members = torch.library.get_ctx().new_dynamic_size()
    return col.new_empty(members, dtype=torch.int64), col.new_empty(tokens + 1, dtype=torch.int64)


define(
    "walk_tokens(Tensor rowptr, Tensor col, int max_length, int num_walks, int repeats, int seed) -> (Tensor, Tensor)",
    reference=reference,
    fake=_fake,
)
