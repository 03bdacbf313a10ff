"""The record of one run: everything one needs to judge it and to repeat it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gnnkit.errors import DataError
from gnnkit.experiment import environment
from gnnkit.experiment.build import AnyDataset
from gnnkit.experiment.config import ExperimentConfig
from gnnkit.experiment.files import read_json, write_json
from gnnkit.experiment.trainer import Trainer, parameter_count

FORMAT = 1

_REQUIRED = (
    *("table", "method", "protocol", "dataset", "metric", "higher_is_better", "seed", "epochs", "schedule"),
    *("final", "parameters", "data", "config", "environment"),
)


def build_record(
    trainer: Trainer,
    *,
    provenance: dict[str, Any],
    resumes: int,
    wall_seconds: float,
    weights_sha256: str,
    memory: list[dict[str, int | None]],
) -> dict[str, Any]:
    """Describes a finished run.

    Args:
        trainer: The trainer at its end.
        provenance: Which code ran, from ``environment.provenance`` at the start.
        resumes: How often the run was taken up again.
        wall_seconds: Time from first to last, pauses excluded.
        weights_sha256: Checksum of the final weights.
        memory: Resident memory of each process in bytes, under the names it has in the record.

    Returns:
        Plain data for JSON. ``history`` and ``final`` depend on configuration and seed alone; times are in ``timing``.
    """
    config, state = trainer.config, trainer.state
    best, last = state.history[state.best_epoch - 1], state.history[-1]
    return {
        "format": FORMAT,
        "table": config.table,
        "method": config.method,
        "protocol": config.protocol,
        "dataset": trainer.dataset.name,
        "metric": trainer.metric.label,
        "higher_is_better": trainer.metric.higher_is_better,
        "seed": config.train.seed,
        **schedule_facts(config, state.epoch, stopped_early=trainer.stopped_early),
        "steps_per_epoch": trainer.steps_per_epoch,
        # Orders, or draws of tokens, that each figure below averages over.
        "eval_orders": getattr(config.model, "eval_orders", 1),
        "final": {
            "best_epoch": state.best_epoch,
            "val": best["val"],
            "test": best["test"],
            "last": {"epoch": last["epoch"], "val": last["val"], "test": last["test"]},
        },
        "parameters": parameter_count(trainer.model),
        "weights_sha256": weights_sha256,
        "timing": {
            "wall_seconds": wall_seconds,
            "mean_epoch_seconds": sum(state.epoch_seconds) / len(state.epoch_seconds),
            "epoch_seconds": state.epoch_seconds,
            "resumes": resumes,
        },
        **{name: _largest(part[name] for part in memory) for name in memory[0]},
        "data": describe_data(trainer.dataset, trainer.task.sizes),
        "environment": {
            "versions": environment.versions(),
            "machine": environment.machine(),
            "backend": environment.backend(),
            "processes": {
                "count": trainer.processes.count,
                "backend": trainer.processes.backend,
                "memory": memory,
            },
            **provenance,
        },
        "config": config.to_dict(),
        "history": state.history,
    }


def _largest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def schedule_facts(config: ExperimentConfig, epochs_run: int, *, stopped_early: bool) -> dict[str, Any]:
    """How many epochs were meant, configured and run; fewer than the protocol's is a short schedule."""
    epochs, protocol = config.train.epochs, config.protocol_epochs
    if epochs < protocol:
        words = f"short ({epochs} of {protocol} epochs)"
    elif epochs > protocol:
        words = f"long ({epochs} epochs instead of {protocol})"
    else:
        words = f"full ({epochs} epochs)"
    return {
        "epochs": epochs,
        "protocol_epochs": protocol,
        "epochs_run": epochs_run,
        "stopped_early": stopped_early,
        "short_schedule": epochs < protocol,
        "schedule": words,
    }


def describe_data(dataset: AnyDataset, sizes: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Name, sizes, checksums of the raw files, and whether these are the official data."""
    return {
        "name": dataset.name,
        **sizes,
        "checksums": dict(dataset.checksums),
        "official": getattr(dataset, "official", None),
        "notes": list(getattr(dataset, "notes", ())),
    }


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Writes a record atomically."""
    write_json(path, record)


def read_record(path: Path) -> dict[str, Any]:
    """Reads a record.

    Raises:
        DataError: If the file is missing, damaged, of another format, or lacks a part that every record has.
    """
    record = read_json(path)
    if record.get("format") != FORMAT:
        raise DataError(
            f"{path} is not a record of format {FORMAT}, its format is {record.get('format')!r}; run it again"
        )
    missing = [key for key in _REQUIRED if key not in record]
    if missing:
        raise DataError(f"{path} is not a whole record, it lacks {', '.join(missing)}; run it again")
    return record


def record_name(config: ExperimentConfig, stem: str) -> str:
    """File name of a committed record, ``gcn-seed0.json``; a number of epochs that is not the protocol's is named."""
    short = "" if config.train.epochs == config.protocol_epochs else f"-epochs{config.train.epochs}"
    return f"{stem}{short}-seed{config.train.seed}.json"
