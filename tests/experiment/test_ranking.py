import sys
import warnings

import numpy as np
import pytest
import torch

from gnnkit.errors import ConfigError, DataError, IndexRangeError, ShapeError
from gnnkit.experiment.ranking import hits_at_k, link_mrr, mean_reciprocal_rank


@pytest.fixture(scope="module")
def ogb_evaluator():
    """OGB's evaluator class, imported without the thread in which ``import ogb`` asks the network for its version."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setitem(sys.modules, "outdated", None)
        evaluate = pytest.importorskip("ogb.linkproppred.evaluate", reason="the oracle needs gnnkit[ogb]")
    return evaluate.Evaluator


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


def test_hits_are_those_of_ogb(ogb_evaluator):
    evaluators = {}
    generator = torch.Generator().manual_seed(5)
    for trial in range(60):
        k = (20, 50, 100)[trial % 3]
        name = {20: "ogbl-ddi", 50: "ogbl-collab", 100: "ogbl-ppa"}[k]
        evaluator = evaluators.setdefault(name, ogb_evaluator(name))
        # Few distinct scores, so that ties with the k-th negative are the rule; and sometimes fewer negatives than k.
        levels = (3, 30, 10**6)[trial // 3 % 3]
        positive = torch.randint(levels, (37,), generator=generator) / levels
        negative = torch.randint(levels, (k - 1 + trial % 4,), generator=generator) / levels
        expected = evaluator.eval({"y_pred_pos": positive, "y_pred_neg": negative})[f"hits@{k}"]
        assert hits_at_k(positive, negative, k) == pytest.approx(float(expected), abs=1e-6)


def test_hits_by_counting():
    generator = torch.Generator().manual_seed(6)
    for k in (1, 2, 5):
        positive = torch.randint(6, (25,), generator=generator).float()
        negative = torch.randint(6, (9,), generator=generator).float()
        # Strictly above the k-th highest: at most k - 1 negatives are as high.
        counted = sum(int((negative >= score).sum()) < k for score in positive) / 25
        assert hits_at_k(positive, negative, k) == pytest.approx(counted)
    constant = torch.zeros(4)
    assert hits_at_k(constant, torch.zeros(20), 20) == 0.0
    assert hits_at_k(constant, torch.zeros(19), 20) == 1.0


def test_mrr_of_links_is_that_of_ogb_and_ties_count_half(ogb_evaluator):
    evaluator = ogb_evaluator("ogbl-citation2")
    generator = torch.Generator().manual_seed(7)
    for levels in (2, 5, 10**6):
        positive = torch.randint(levels, (30,), generator=generator) / levels
        negative = torch.randint(levels, (30, 11), generator=generator) / levels
        expected = evaluator.eval({"y_pred_pos": positive, "y_pred_neg": negative})["mrr_list"].double().mean()
        assert link_mrr(positive, negative) == pytest.approx(float(expected), abs=1e-6)
    # Four equal competitors: rank 3, the mean of 1 to 5.
    assert link_mrr(torch.zeros(1), torch.zeros(1, 4)) == pytest.approx(1 / 3)
    assert link_mrr(torch.ones(2), torch.zeros(2, 4)) == 1.0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: hits_at_k(torch.zeros(3), torch.zeros(3), 0), ConfigError, "k must be at least 1"),
        (lambda: hits_at_k(torch.zeros(3, 1), torch.zeros(3), 1), ShapeError, "positive scores must have shape"),
        (lambda: hits_at_k(torch.zeros(0), torch.zeros(3), 1), DataError, "undefined without positive pairs"),
        (lambda: hits_at_k(torch.zeros(3), torch.tensor([torch.nan]), 1), DataError, "negative scores hold NaN"),
        (lambda: link_mrr(torch.zeros(3), torch.zeros(3)), ShapeError, "negative scores must have shape"),
        (lambda: link_mrr(torch.zeros(3), torch.zeros(2, 4)), ShapeError, "for each of 3 positives, got 2 rows"),
        (lambda: link_mrr(torch.tensor([torch.nan]), torch.zeros(1, 4)), DataError, "positive scores hold NaN"),
    ],
)
def test_bad_scores_of_links_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
