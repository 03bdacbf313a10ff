import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.experiment import metrics

MULTI_TASK = {metrics.average_precision: "ap", metrics.roc_auc: "rocauc"}


@pytest.fixture(scope="module")
def ogb_evaluator():
    """OGB's evaluator class, imported without the thread in which ``import ogb`` asks the network for its version."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setitem(sys.modules, "outdated", None)
        evaluate = pytest.importorskip("ogb.graphproppred.evaluate", reason="the oracle needs gnnkit[ogb]")
    return evaluate.Evaluator


def labels_and_scores(seed: int, *, missing: float = 0.0, ties: bool = False, tasks: int = 5, rows: int = 60):
    random = np.random.default_rng(seed)
    labels = (random.random((rows, tasks)) < 0.3).astype(np.float32)
    labels[random.random(labels.shape) < missing] = np.nan
    scores = random.standard_normal(labels.shape).astype(np.float32)
    return labels, np.round(scores) if ties else scores


def ogb(evaluator, metric: str, labels, scores) -> float:
    instance = evaluator("ogbg-molhiv")
    instance.num_tasks, instance.eval_metric = labels.shape[1], metric
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(instance.eval({"y_true": labels, "y_pred": scores})[metric])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("function", MULTI_TASK)
def test_equal_to_ogb_on_random_input(ogb_evaluator, function, missing, ties):
    for seed in range(5):
        labels, scores = labels_and_scores(seed, missing=missing, ties=ties)
        expected = ogb(ogb_evaluator, MULTI_TASK[function], labels, scores)
        assert function(torch.from_numpy(labels), torch.from_numpy(scores)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("function", MULTI_TASK)
def test_equal_to_ogb_on_degenerate_tasks(ogb_evaluator, function):
    labels, scores = labels_and_scores(0, tasks=6)
    labels[:, 0] = 0
    labels[:, 1] = 1
    labels[:, 2] = np.nan
    labels[:, 3] = np.where(np.arange(len(labels)) < 2, labels[:, 3], np.nan)
    labels[:2, 3] = [0, 1]
    scores[:, 4] = 0.0
    expected = ogb(ogb_evaluator, MULTI_TASK[function], labels, scores)
    assert function(labels, scores) == pytest.approx(expected, abs=1e-12)
    # The tasks with one class, or none, must not have counted.
    assert function(labels[:, 3:], scores[:, 3:]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("function", MULTI_TASK)
@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan])
def test_no_task_with_two_classes_is_an_error_as_in_ogb(ogb_evaluator, function, fill):
    labels = np.full((9, 2), fill)
    with pytest.raises(RuntimeError):
        ogb(ogb_evaluator, MULTI_TASK[function], labels, np.zeros_like(labels))
    with pytest.raises(DataError, match=r"none of the 2 task\(s\) has both"):
        function(labels, np.zeros_like(labels))


def test_average_precision_and_auc_equal_scikit_learn():
    labels, scores = labels_and_scores(1, ties=True)
    expected = np.mean([average_precision_score(labels[:, t], scores[:, t]) for t in range(5)])
    assert metrics.average_precision(labels, scores) == pytest.approx(expected)
    assert metrics.average_precision(labels, scores) == pytest.approx(
        average_precision_score(labels, scores, average="macro")
    )
    assert metrics.roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores, average="macro"))


def test_values_by_hand():
    labels, scores = [[1.0], [0.0], [1.0], [0.0]], [[4.0], [3.0], [2.0], [1.0]]
    assert metrics.average_precision(labels, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.roc_auc(labels, scores) == pytest.approx(3 / 4)
    assert metrics.roc_auc(labels, np.zeros((4, 1))) == 0.5
    assert metrics.rmse([[0.0], [0.0]], [[3.0], [4.0]]) == pytest.approx(np.sqrt(12.5))
    assert metrics.mae([[0.0], [0.0]], [[3.0], [-4.0]]) == pytest.approx(3.5)


@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_rmse_equals_ogb(ogb_evaluator, missing):
    labels, scores = labels_and_scores(2, missing=missing)
    assert metrics.rmse(labels, scores) == pytest.approx(ogb(ogb_evaluator, "rmse", labels, scores), rel=1e-6)
    known = ~np.isnan(labels)
    by_task = [np.abs(labels[known[:, t], t] - scores[known[:, t], t]).mean() for t in range(5)]
    assert metrics.mae(labels, scores) == pytest.approx(np.mean(by_task))


@pytest.mark.parametrize("function", [metrics.rmse, metrics.mae])
def test_a_task_without_labels_is_an_error_where_ogb_gives_nan(ogb_evaluator, function):
    labels, scores = labels_and_scores(3)
    labels[:, 2] = np.nan
    assert np.isnan(ogb(ogb_evaluator, "rmse", labels, scores))
    with pytest.raises(DataError, match=r"task\(s\) \[2\] have no label"):
        function(labels, scores)
    with pytest.raises(DataError, match="have no label"):
        function(np.zeros((0, 1)), np.zeros((0, 1)))


def test_accuracy_and_macro_f1_equal_scikit_learn():
    random = np.random.default_rng(0)
    for classes in (2, 7):
        labels, scores = random.integers(0, classes, 80), random.standard_normal((80, classes))
        predicted = scores.argmax(axis=1)
        assert metrics.accuracy(torch.from_numpy(labels), torch.from_numpy(scores)) == accuracy_score(labels, predicted)
        assert metrics.macro_f1(labels, scores) == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_macro_f1_on_absent_classes_and_ties():
    # Class 2 of 3 neither occurs nor is predicted; equal scores go to class 0.
    labels, scores = [0, 0, 1, 1], [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    assert metrics.accuracy(labels, scores) == 0.75
    assert metrics.macro_f1(labels, scores) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert metrics.macro_f1([0, 0], [[0.0, 1.0], [0.0, 1.0]]) == 0.0


@pytest.mark.parametrize("function", [metrics.accuracy, metrics.macro_f1])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0.0, np.nan, 1.0], "row 1 is NaN"),
        ([0, 3, 1], "classes 0 to 1; row 1 is 3"),
        ([0, -1, 1], "row 1 is -1"),
        ([0.0, 0.5, 1.0], "row 1 is 0.5"),
    ],
)
def test_class_metrics_refuse_labels_that_are_no_classes(function, labels, words):
    with pytest.raises(DataError, match=words):
        function(np.array(labels), np.zeros((3, 2)))


def test_class_metrics_refuse_nothing_at_all():
    with pytest.raises(DataError, match="no rows"):
        metrics.accuracy(np.zeros(0, dtype=np.int64), np.zeros((0, 2)))


@pytest.mark.parametrize("function", [metrics.average_precision, metrics.roc_auc])
def test_labels_other_than_0_and_1_are_refused(function):
    with pytest.raises(DataError, match=r"row 1 of task 0 is 2\.0"):
        function([[0.0], [2.0], [1.0]], np.zeros((3, 1)))


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_nan_predictions_are_refused(name):
    scores = np.zeros((4, 2))
    scores[2, 1] = np.nan
    labels = np.array([0, 1, 0, 1]) if name in ("accuracy", "macro_f1") else np.array([[0.0, 1.0], [1.0, 0.0]] * 2)
    with pytest.raises(DataError, match=r"1 of 4 rows of the predictions hold NaN \(first: row 2\)"):
        metrics.get_metric(name).function(labels, scores)


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_shapes_that_do_not_fit_are_refused(name):
    function = metrics.get_metric(name).function
    with pytest.raises(ShapeError):
        function(np.zeros((4, 2)), np.zeros((3, 2)))
    with pytest.raises(ShapeError):
        function(np.zeros(4), np.zeros(4))


def test_bfloat16_scores_are_taken():
    labels, scores = labels_and_scores(4)
    low = torch.from_numpy(scores).bfloat16()
    assert metrics.roc_auc(labels, low) == metrics.roc_auc(labels, low.float())


def test_unknown_metric_names_the_nearest():
    with pytest.raises(ConfigError, match='did you mean "rocauc"'):
        metrics.get_metric("rocacu")


def test_better_is_strict_and_knows_the_direction():
    assert metrics.METRICS["ap"].better(0.6, 0.5)
    assert not metrics.METRICS["ap"].better(0.5, 0.5)
    assert metrics.METRICS["rmse"].better(0.4, 0.5)


def test_hits_take_links_and_negatives_by_their_labels():
    generator = torch.Generator().manual_seed(3)
    labels = (torch.rand(90, 1, generator=generator) < 0.4).float()
    scores = torch.randint(40, (90, 1), generator=generator).float()
    metric = metrics.get_metric("hits@20")
    above = scores[labels == 0].sort(descending=True).values[19]
    expected = (scores[labels == 1] > above).double().mean().item()
    assert metric.function(labels, scores) == pytest.approx(expected)
    assert 0 < expected < 1
    assert (metric.label, metric.higher_is_better) == ("Hits@20", True)
    for wrong, error, words in (
        (torch.zeros(90, 2), ShapeError, "one shape"),
        (labels + 1, DataError, "needs labels 0 or 1; row"),
        (torch.zeros(90, 1), DataError, "undefined without positive pairs"),
        (torch.full((90, 1), torch.nan), DataError, "needs labels 0 or 1; row 0"),
    ):
        with pytest.raises(error, match=words):
            metric.function(wrong, scores)
    with pytest.raises(ShapeError, match=r"needs labels and scores \[N, 1\]"):
        metric.function(torch.zeros(9, 2), torch.zeros(9, 2))
