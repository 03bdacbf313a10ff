"""Metrics of link prediction: Hits@K and MRR against given negatives, and the three variants of PCQM-Contact."""

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


def hits_at_k(positive: Tensor, negative: Tensor, k: int) -> float:
    """Share of the positive scores that are above the ``k``-th highest negative score (ogbl-ddi, ppa, collab).

    As in OGB's evaluator, a positive that equals the ``k``-th negative is no hit, and with fewer than ``k`` negatives
    every positive is one.

    Args:
        positive: Scores of true links, ``[P]``.
        negative: Scores of pairs that are no links, the same for all positives, ``[Q]``.
        k: How many negatives a hit may have above itself, plus one.

    Raises:
        ShapeError: If a tensor is no vector.
        DataError: If a score is NaN, or there are no positives.
        ConfigError: If ``k`` is below 1.

    Determinism: bitwise.
    Complexity: ``O(P + Q)`` time.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}")
    _check_scores("positive", positive, 1)
    _check_scores("negative", negative, 1)
    if negative.numel() < k:
        return 1.0
    return (positive > negative.topk(k).values[-1]).double().mean().item()


def link_mrr(positive: Tensor, negative: Tensor) -> float:
    r"""Mean over true links of :math:`1 / \mathrm{rank}` among the negatives of each (ogbl-citation2, wikikg2).

    :math:`\mathrm{rank} = 1 + |\{s^- > s^+\}| + |\{s^- = s^+\}| / 2`: a tie counts one half, the mean of the best and
    the worst order, as in OGB's evaluator.

    Args:
        positive: Scores of true links, ``[P]``.
        negative: Scores of the pairs each is ranked against, ``[P, K]``.

    Raises:
        ShapeError: If the shapes do not fit.
        DataError: If a score is NaN, or there are no positives.

    Determinism: bitwise.
    Complexity: ``O(P K)`` time and memory.
    """
    _check_scores("positive", positive, 1)
    _check_scores("negative", negative, 2)
    if negative.size(0) != positive.size(0):
        raise ShapeError(f"expected negatives for each of {positive.size(0)} positives, got {negative.size(0)} rows")
    own = positive.unsqueeze(1)
    return _reciprocal(negative > own, negative == own).mean().item()


def _check_scores(name: str, scores: Tensor, dim: int) -> None:
    if scores.dim() != dim:
        shape = "[P]" if dim == 1 else "[P, K]"
        raise ShapeError(f"{name} scores must have shape {shape}, got {tuple(scores.shape)}")
    if name == "positive" and scores.numel() == 0:
        raise DataError("the metric is undefined without positive pairs; check the split")
    if scores.isnan().any():
        raise DataError(f"{name} scores hold NaN; the model has diverged")


def _reciprocal(higher: Tensor, equal: Tensor) -> Tensor:
    """``1 / rank`` of each row, given which of its competitors are higher and which are equal."""
    return 1.0 / (1.0 + higher.sum(dim=1).double() + 0.5 * equal.sum(dim=1).double())


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
    return _reciprocal((others > own) & competes, (others == own) & competes)


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
