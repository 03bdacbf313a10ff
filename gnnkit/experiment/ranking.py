"""Mean reciprocal rank of PCQM-Contact, in its three incomparable variants."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError

Variant = Literal["raw", "filtered", "ext-filtered"]


def mean_reciprocal_rank(scores: Sequence[Tensor], positives: Sequence[Tensor], variant: Variant) -> float:
    r"""Mean over graphs of the mean over positive pairs :math:`(i, j)` of :math:`1 / \mathrm{rank}`.

    The rank of :math:`s_{ij}` is taken among :math:`\{s_{ik} : k \in K\}`, where the competitors :math:`K` are

    - ``raw``: all nodes other than :math:`j`, also those that are positives of :math:`i` themselves;
    - ``filtered``: of these, the nodes that are not positives of :math:`i`;
    - ``ext-filtered``: of these, the nodes other than :math:`i` itself.

    Values of different variants cannot be compared: the same model has 0.35 in the first and 0.47 in the last.

    A graph without positives counts as 0 in ``raw`` and is left out of the other two, as in the code of the benchmark
    (Tönshoff et al., "Where Did the Gap Go?", arXiv 2309.00367). That code breaks ties by the order of an unstable
    sort; here a tie counts one half, :math:`\mathrm{rank} = 1 + |\{s_{ik} > s_{ij}\}| + |\{s_{ik} = s_{ij}\}| / 2`,
    the mean of the best and the worst order (as in OGB's evaluator), so that a constant model gains nothing.

    Args:
        scores: Per graph the score of each pair, ``[N, N]``.
        positives: Per graph the positive pairs, ``[2, P]``, as (i, j) in its two rows.
        variant: Which competitors count.

    Raises:
        ShapeError: If the two lists differ in length, or a graph's tensors do not have these shapes.
        IndexRangeError: If a pair names a node that its graph does not have.
        DataError: If a score is NaN, there are no graphs, or no graph counts.
        ConfigError: If there is no such variant.

    Determinism: bitwise.
    Complexity: ``O(P N)`` time and memory per graph.
    """
    if variant not in ("raw", "filtered", "ext-filtered"):
        raise ConfigError(f'variant must be "raw", "filtered" or "ext-filtered", got {variant!r}')
    if len(scores) != len(positives):
        raise ShapeError(f"expected positives for each of the {len(scores)} graphs, got {len(positives)}")
    if not scores:
        raise DataError("MRR is undefined on no graphs; check the split")
    values = []
    for graph, (score, positive) in enumerate(zip(scores, positives, strict=True)):
        _check_graph(graph, score, positive)
        if positive.shape[1]:
            values.append(_reciprocal_ranks(score, positive, variant).mean().item())
        elif variant == "raw":
            values.append(0.0)
    if not values:
        raise DataError(f"{variant} MRR is undefined: none of the {len(scores)} graphs has a positive pair")
    return sum(values) / len(values)


def _reciprocal_ranks(score: Tensor, positive: Tensor, variant: Variant) -> Tensor:
    source, target = positive
    competes = torch.ones(positive.shape[1], score.shape[0], dtype=torch.bool, device=score.device)
    if variant != "raw":
        is_positive = torch.zeros_like(score, dtype=torch.bool)
        is_positive[source, target] = True
        competes &= ~is_positive[source]
    pair = torch.arange(positive.shape[1], device=score.device)
    if variant == "ext-filtered":
        competes[pair, source] = False
    competes[pair, target] = False
    own, others = score[source, target].unsqueeze(1), score[source]
    higher = ((others > own) & competes).sum(dim=1)
    equal = ((others == own) & competes).sum(dim=1)
    return 1.0 / (1.0 + higher.double() + 0.5 * equal.double())


def _check_graph(graph: int, score: Tensor, positive: Tensor) -> None:
    if score.dim() != 2 or score.shape[0] != score.shape[1]:
        raise ShapeError(f"scores of graph {graph} must be a square matrix [N, N], got shape {tuple(score.shape)}")
    if positive.dim() != 2 or positive.shape[0] != 2:
        raise ShapeError(f"positives of graph {graph} must have shape [2, P], got {tuple(positive.shape)}")
    if score.isnan().any():
        raise DataError(f"scores of graph {graph} hold NaN; the model has diverged")
    if positive.numel() and (positive.min() < 0 or positive.max() >= score.shape[0]):
        raise IndexRangeError(
            f"positives of graph {graph} must name nodes 0 to {score.shape[0] - 1}, got {positive.min().item()} to "
            f"{positive.max().item()}"
        )
