"""The folder of one run: which files it has, and what state they are in."""

import logging
from pathlib import Path
from typing import Any

from gnnkit.errors import ConfigError, DataError
from gnnkit.experiment.checkpoint import CheckpointFolder
from gnnkit.experiment.config import ExperimentConfig, config_differences, config_from_dict
from gnnkit.experiment.record import read_record

logger = logging.getLogger("gnnkit.experiment")

# Keys that do not touch a single bit of the result: a run may be resumed with others.
_FREE_KEYS = (("train", "checkpoint_every_steps"),)


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        """Names the files; none is touched."""
        self.path = path
        self.config = path / "config.json"
        self.log = path / "log.jsonl"
        self.record = path / "record.json"
        self.checkpoints = CheckpointFolder(path / "checkpoints")

    def sweep(self) -> None:
        """Removes what a killed process was writing and did not finish."""
        for file in (*self.path.glob(".*.tmp"), *self.checkpoints.folder.glob(".*.tmp")):
            file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes the run's own files and no others."""
        self.checkpoints.clear()
        for file in (self.record, self.config, self.log, *self.path.glob("*.safetensors")):
            file.unlink(missing_ok=True)

    def finished(self, config: ExperimentConfig) -> dict[str, Any] | None:
        """The record, if the run is finished.

        Raises:
            ConfigError: If it is the record of another configuration.
        """
        if not self.record.exists():
            return None
        record = read_record(self.record)
        self._check_config(config, record["config"], "a finished run")
        return record

    def load(self, config: ExperimentConfig, resume: bool | None) -> dict[str, Any] | None:
        """The state to take up, if there is one.

        Raises:
            ConfigError: If it belongs to another configuration, or there is one and ``resume`` is False.
            DataError: If there is none and ``resume`` is True, or none can be read.
        """
        loaded = self.checkpoints.load()
        if loaded is None:
            if resume:
                raise DataError(
                    f"{self.path} holds no checkpoint to resume from; leave --resume out to start a new run"
                )
            return None
        if resume is False:
            raise ConfigError(f"{self.path} holds an unfinished run; resume it, or start it again with --restart")
        saved, problems = loaded
        for problem in problems:
            logger.warning("passed over a checkpoint: %s", problem)
        self._check_config(config, saved["config"], "a run")
        return saved

    def weights(self, epoch: int) -> Path:
        """File of the weights after an epoch that was the best so far."""
        return self.path / f"best-epoch-{epoch:06d}.safetensors"

    def _check_config(self, config: ExperimentConfig, other: dict[str, Any], what: str) -> None:
        differences = config_differences(_without_free_keys(config.to_dict()), _without_free_keys(_completed(other)))
        if differences:
            raise ConfigError(
                f"{self.path} holds {what} of another configuration; these keys differ (now, and then):\n  "
                + "\n  ".join(differences)
                + "\nName another folder with --out, or start again with --restart"
            )


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the keys that did not exist when it was written: they had their defaults."""
    try:
        return config_from_dict(config).to_dict()
    except ConfigError:
        # One that cannot be read any more is compared as it stands, which names the keys in question.
        return config


def _without_free_keys(config: dict[str, Any]) -> dict[str, Any]:
    for section, key in _FREE_KEYS:
        config = {**config, section: {name: value for name, value in config[section].items() if name != key}}
    return config
