"""The metrics of LRGB and OGB.

Labels and scores are tensors or arrays. A NaN label means "not measured": metrics that average over tasks leave such an
entry out, the others refuse it. A NaN score is always an error, because it is a diverged model and never a bad one.

Determinism: bitwise; nothing is random and ties have a stated meaning.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gnnkit._construct import unknown_key
from gnnkit.errors import ConfigError, DataError, ShapeError
from gnnkit.experiment.ranking import hits_at_k

Labels = Tensor | ArrayLike


def average_precision(y_true: Labels, y_score: Labels) -> float:
    r"""Average precision, averaged over tasks (Peptides-func, ogbg-molpcba).

    Per task :math:`\sum_n (R_n - R_{n-1}) P_n` over the distinct scores in falling order, so that equal scores form one
    step. As in OGB, a task counts only if it has a positive and a negative label.

    Args:
        y_true: Labels 0, 1 or NaN (missing), ``[N, T]``.
        y_score: Scores, higher for the positive class, ``[N, T]``. Logits do as well as probabilities.

    Raises:
        ShapeError: If the two differ in shape or are not matrices.
        DataError: If a score is NaN, a label is not 0, 1 or NaN, or no task has both classes.
    """
    from sklearn.metrics import average_precision_score

    return _mean_over_tasks(average_precision_score, "average precision", y_true, y_score)


def roc_auc(y_true: Labels, y_score: Labels) -> float:
    """Area under the ROC curve, averaged over tasks (ogbg-molhiv, molbace, molbbbp); a tie counts one half.

    As in OGB, a task counts only if it has a positive and a negative label.

    Args:
        y_true: Labels 0, 1 or NaN (missing), ``[N, T]``.
        y_score: Scores, higher for the positive class, ``[N, T]``.

    Raises:
        ShapeError: If the two differ in shape or are not matrices.
        DataError: If a score is NaN, a label is not 0, 1 or NaN, or no task has both classes.
    """
    from sklearn.metrics import roc_auc_score

    return _mean_over_tasks(roc_auc_score, "ROC-AUC", y_true, y_score)


def rmse(y_true: Labels, y_pred: Labels) -> float:
    """Root mean squared error per task, averaged over tasks (ogbg-molesol, molfreesolv), in the unit of the labels.

    Args:
        y_true: Targets, NaN where missing, ``[N, T]``.
        y_pred: Predictions, ``[N, T]``.

    Raises:
        ShapeError: If the two differ in shape or are not matrices.
        DataError: If a prediction is NaN, or a task has no label at all. (OGB's evaluator returns NaN for the latter.)
    """
    return float(np.mean([np.sqrt(np.mean(error**2)) for error in _errors_by_task("RMSE", y_true, y_pred)]))


def mae(y_true: Labels, y_pred: Labels) -> float:
    """Mean absolute error per task, averaged over tasks (Peptides-struct, ZINC), in the unit of the labels.

    Args:
        y_true: Targets, NaN where missing, ``[N, T]``.
        y_pred: Predictions, ``[N, T]``.

    Raises:
        ShapeError: If the two differ in shape or are not matrices.
        DataError: If a prediction is NaN, or a task has no label at all.
    """
    return float(np.mean([np.mean(np.abs(error)) for error in _errors_by_task("MAE", y_true, y_pred)]))


def accuracy(y_true: Labels, y_score: Labels) -> float:
    """Share of rows whose highest score is the label's; equal scores go to the lowest class.

    Args:
        y_true: Class of each row, ``[N]``.
        y_score: Scores, ``[N, C]``.

    Raises:
        ShapeError: If the shapes do not fit.
        DataError: If a label is NaN, not a class, or not an integer; if a score is NaN; if there are no rows.
    """
    truth, predicted = _classes("accuracy", y_true, y_score)
    return float(np.mean(truth == predicted))


def macro_f1(y_true: Labels, y_score: Labels) -> float:
    """F1 per class, averaged over the classes that occur as label or as prediction (PascalVOC-SP, COCO-SP).

    Args:
        y_true: Class of each row, ``[N]``.
        y_score: Scores, ``[N, C]``; equal scores go to the lowest class.

    Raises:
        ShapeError: If the shapes do not fit.
        DataError: If a label is NaN, not a class, or not an integer; if a score is NaN; if there are no rows.
    """
    from sklearn.metrics import f1_score

    truth, predicted = _classes("macro-F1", y_true, y_score)
    return float(f1_score(truth, predicted, average="macro"))


def hits(k: int) -> Callable[[Labels, Labels], float]:
    """Hits@K of pairs with labels 1 (a link) and 0, ``[N, 1]``: :func:`gnnkit.experiment.hits_at_k` of the two groups.

    The function raises ShapeError if labels and scores are not of one shape ``[N, 1]``, and DataError if a label is
    neither 0 nor 1, a score is NaN, or there is no link.
    """

    def hits_of_labels(y_true: Labels, y_score: Labels) -> float:
        name = f"Hits@{k}"
        truth, scores = _matrices(name, y_true, y_score)
        if truth.shape[1] != 1:
            raise ShapeError(f"{name} needs labels and scores [N, 1], got {truth.shape}")
        wrong = (truth != 0) & (truth != 1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(f"{name} needs labels 0 or 1; row {row} is {truth[row, 0]}")
        return hits_at_k(torch.from_numpy(scores[truth == 1]), torch.from_numpy(scores[truth == 0]), k)

    return hits_of_labels


@dataclass(frozen=True)
class Metric:
    """A metric by its name in data set cards.

    Attributes:
        function: ``(y_true, y_score) -> float``.
        label: Its name in ``published.toml``.
        higher_is_better: Whether more is better.
    """

    function: Callable[[Labels, Labels], float]
    label: str
    higher_is_better: bool

    def better(self, value: float, than: float) -> bool:
        """Whether ``value`` is strictly better."""
        return value > than if self.higher_is_better else value < than


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, "accuracy", higher_is_better=True),
    "ap": Metric(average_precision, "AP", higher_is_better=True),
    **{f"hits@{k}": Metric(hits(k), f"Hits@{k}", higher_is_better=True) for k in (10, 20, 50, 100)},
    "mae": Metric(mae, "MAE", higher_is_better=False),
    "macro_f1": Metric(macro_f1, "F1 (macro)", higher_is_better=True),
    "rmse": Metric(rmse, "RMSE", higher_is_better=False),
    "rocauc": Metric(roc_auc, "ROC-AUC", higher_is_better=True),
}


def get_metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in METRICS:
        raise ConfigError(str(unknown_key(name, METRICS, "metrics", "metric")))
    return METRICS[name]


def to_array(values: Labels) -> NDArray[np.generic]:
    """The values as an array on the CPU; bfloat16, which NumPy lacks, becomes float32."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return values.float().numpy() if values.is_floating_point() and values.element_size() == 2 else values.numpy()
    return np.asarray(values)


def _mean_over_tasks(score: Callable[..., float], name: str, y_true: Labels, y_score: Labels) -> float:
    truth, scores = _matrices(name, y_true, y_score)
    known = ~np.isnan(truth)
    wrong = known & (truth != 0) & (truth != 1)
    if wrong.any():
        row, task = np.argwhere(wrong)[0]
        raise DataError(f"{name} needs labels 0, 1 or NaN (missing); row {row} of task {task} is {truth[row, task]}")
    both = (truth == 1).any(axis=0) & (truth == 0).any(axis=0)
    if not both.any():
        raise DataError(
            f"{name} is undefined: none of the {truth.shape[1]} task(s) has both a positive and a negative label among "
            f"{truth.shape[0]} rows; evaluate on more data, or check the labels and the split"
        )
    tasks = np.flatnonzero(both)
    return float(np.mean([score(truth[known[:, t], t], scores[known[:, t], t]) for t in tasks]))


def _errors_by_task(name: str, y_true: Labels, y_pred: Labels) -> list[NDArray[np.float64]]:
    truth, predicted = _matrices(name, y_true, y_pred)
    known = ~np.isnan(truth)
    empty = np.flatnonzero(~known.any(axis=0))
    if empty.size:
        raise DataError(
            f"{name} is undefined: task(s) {empty.tolist()} have no label among {truth.shape[0]} rows; "
            "leave these tasks out, or check the labels and the split"
        )
    return [truth[known[:, t], t] - predicted[known[:, t], t] for t in range(truth.shape[1])]


def _matrices(name: str, y_true: Labels, y_score: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    truth, scores = to_array(y_true), to_array(y_score)
    if truth.shape != scores.shape or truth.ndim != 2:
        raise ShapeError(
            f"{name} needs labels and scores of one shape [N, T], got {truth.shape} and {scores.shape}; "
            "a single task is a matrix of one column"
        )
    # float32 scores are compared as they are: widening keeps order and ties.
    scores = scores.astype(np.float64)
    _refuse_nan(name, scores)
    return truth.astype(np.float64), scores


def _classes(name: str, y_true: Labels, y_score: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    truth, scores = to_array(y_true), to_array(y_score)
    if truth.ndim != 1 or scores.ndim != 2 or truth.shape[0] != scores.shape[0]:
        raise ShapeError(f"{name} needs classes [N] and scores [N, C], got shapes {truth.shape} and {scores.shape}")
    if truth.shape[0] == 0:
        raise DataError(f"{name} is undefined on no rows; check the split")
    _refuse_nan(name, scores)
    truth = truth.astype(np.float64)
    if np.isnan(truth).any():
        row = int(np.flatnonzero(np.isnan(truth))[0])
        raise DataError(f"{name} has no meaning for a missing label, and row {row} is NaN; drop such rows first")
    wrong = (truth != np.floor(truth)) | (truth < 0) | (truth >= scores.shape[1])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(f"{name} needs classes 0 to {scores.shape[1] - 1}; row {row} is {truth[row]}")
    return truth.astype(np.int64), scores.argmax(axis=1)


def _refuse_nan(name: str, scores: NDArray[np.generic]) -> None:
    missing = np.isnan(scores.astype(np.float64))
    if missing.any():
        rows = np.flatnonzero(missing.any(axis=1))
        raise DataError(
            f"{name}: {rows.size} of {scores.shape[0]} rows of the predictions hold NaN (first: row {rows[0]}); "
            "the model has diverged, lower the learning rate or clip the gradient"
        )
