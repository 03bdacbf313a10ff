"""Experiments: typed configurations, a trainer that can be killed at any moment, metrics, records and tables."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnnkit.experiment.config import (
        DataConfig,
        ExperimentConfig,
        LinkConfig,
        NodeConfig,
        OptimConfig,
        SamplerConfig,
        ScheduleConfig,
        TrainConfig,
        TransformConfig,
        config_from_dict,
        load_config,
    )
    from gnnkit.experiment.log import read_log
    from gnnkit.experiment.loss import masked_loss
    from gnnkit.experiment.metrics import (
        METRICS,
        accuracy,
        average_precision,
        get_metric,
        macro_f1,
        mae,
        rmse,
        roc_auc,
    )
    from gnnkit.experiment.published import Published, load_published
    from gnnkit.experiment.ranking import hits_at_k, link_mrr, mean_reciprocal_rank
    from gnnkit.experiment.record import read_record
    from gnnkit.experiment.run import train
    from gnnkit.experiment.schedule import Schedule, warmup_cosine
    from gnnkit.experiment.table import Table, make_tables
    from gnnkit.experiment.trainer import DivergenceError, Trainer
    from gnnkit.experiment.watcher import Interrupted

_HOME = {
    "METRICS": "metrics",
    "DataConfig": "config",
    "DivergenceError": "trainer",
    "ExperimentConfig": "config",
    "Interrupted": "watcher",
    "LinkConfig": "config",
    "NodeConfig": "config",
    "OptimConfig": "config",
    "Published": "published",
    "SamplerConfig": "config",
    "Schedule": "schedule",
    "ScheduleConfig": "config",
    "Table": "table",
    "TrainConfig": "config",
    "Trainer": "trainer",
    "TransformConfig": "config",
    "accuracy": "metrics",
    "average_precision": "metrics",
    "config_from_dict": "config",
    "get_metric": "metrics",
    "hits_at_k": "ranking",
    "link_mrr": "ranking",
    "load_config": "config",
    "load_published": "published",
    "macro_f1": "metrics",
    "mae": "metrics",
    "make_tables": "table",
    "masked_loss": "loss",
    "mean_reciprocal_rank": "ranking",
    "read_log": "log",
    "read_record": "record",
    "rmse": "metrics",
    "roc_auc": "metrics",
    "train": "run",
    "warmup_cosine": "schedule",
}

__all__ = [
    "METRICS",
    "DataConfig",
    "DivergenceError",
    "ExperimentConfig",
    "Interrupted",
    "LinkConfig",
    "NodeConfig",
    "OptimConfig",
    "Published",
    "SamplerConfig",
    "Schedule",
    "ScheduleConfig",
    "Table",
    "TrainConfig",
    "Trainer",
    "TransformConfig",
    "accuracy",
    "average_precision",
    "config_from_dict",
    "get_metric",
    "hits_at_k",
    "link_mrr",
    "load_config",
    "load_published",
    "macro_f1",
    "mae",
    "make_tables",
    "masked_loss",
    "mean_reciprocal_rank",
    "read_log",
    "read_record",
    "rmse",
    "roc_auc",
    "train",
    "warmup_cosine",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
