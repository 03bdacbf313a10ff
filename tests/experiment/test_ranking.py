import numpy as np
import pytest
import torch

from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.experiment.ranking import mean_reciprocal_rank


def by_sorting(scores: np.ndarray, positives: np.ndarray, variant: str) -> float:
    """The definition, one pair and one competitor at a time; scores without ties."""
    values = []
    known = {(int(i), int(j)) for i, j in positives.T}
    for i, j in positives.T:
        competitors = [k for k in range(len(scores)) if k != j]
        if variant != "raw":
            competitors = [k for k in competitors if (int(i), k) not in known]
        if variant == "ext-filtered":
            competitors = [k for k in competitors if k != i]
        values.append(1 / (1 + sum(scores[i, k] > scores[i, j] for k in competitors)))
    return float(np.mean(values))


@pytest.mark.parametrize("variant", ["raw", "filtered", "ext-filtered"])
def test_equal_to_the_definition(variant):
    random = np.random.default_rng(0)
    graphs = []
    for nodes in (2, 5, 17):
        x = random.standard_normal((nodes, 3))
        pairs = np.stack([random.integers(0, nodes, 6), random.integers(0, nodes, 6)])
        graphs.append((x @ x.T, np.unique(pairs, axis=1)))
    expected = np.mean([by_sorting(score, pairs, variant) for score, pairs in graphs])
    scores = [torch.from_numpy(score) for score, _ in graphs]
    positives = [torch.from_numpy(pairs) for _, pairs in graphs]
    assert mean_reciprocal_rank(scores, positives, variant) == pytest.approx(expected)


def test_the_three_variants_by_hand():
    # Node 0 prefers itself, then 1, 2, 3; its positives are 1 and 3.
    scores = torch.tensor([[9.0, 8.0, 7.0, 6.0]] + [[0.0] * 4] * 3)
    positives = torch.tensor([[0, 0], [1, 3]])
    assert mean_reciprocal_rank([scores], [positives], "raw") == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert mean_reciprocal_rank([scores], [positives], "filtered") == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert mean_reciprocal_rank([scores], [positives], "ext-filtered") == pytest.approx((1 / 1 + 1 / 2) / 2)


def test_a_graph_without_positives_is_0_in_raw_and_left_out_otherwise():
    scores = [torch.eye(3), torch.eye(3)]
    positives = [torch.tensor([[0], [0]]), torch.zeros(2, 0, dtype=torch.long)]
    assert mean_reciprocal_rank(scores, positives, "raw") == 0.5
    assert mean_reciprocal_rank(scores, positives, "filtered") == 1.0
    with pytest.raises(DataError, match="none of the 1 graphs has a positive"):
        mean_reciprocal_rank(scores[1:], positives[1:], "filtered")


def test_a_tie_counts_one_half():
    positives = torch.tensor([[0], [1]])
    assert mean_reciprocal_rank([torch.zeros(5, 5)], [positives], "raw") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("scores", "positives", "variant", "error"),
    [
        ([torch.eye(2)], [], "raw", ShapeError),
        ([torch.zeros(2, 3)], [torch.zeros(2, 1, dtype=torch.long)], "raw", ShapeError),
        ([torch.eye(2)], [torch.zeros(3, 1, dtype=torch.long)], "raw", ShapeError),
        ([torch.eye(2)], [torch.tensor([[0], [2]])], "raw", IndexRangeError),
        ([torch.eye(2)], [torch.tensor([[-1], [0]])], "raw", IndexRangeError),
        ([torch.full((2, 2), torch.nan)], [torch.tensor([[0], [1]])], "raw", DataError),
        ([], [], "raw", DataError),
        ([torch.eye(2)], [torch.tensor([[0], [1]])], "strict", ConfigError),
    ],
)
def test_bad_input_is_refused(scores, positives, variant, error):
    with pytest.raises(error):
        mean_reciprocal_rank(scores, positives, variant)
