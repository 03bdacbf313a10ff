"""The typed configuration of one table cell: which data, which model, how it is trained."""

import dataclasses
import logging
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gnnkit._construct import unknown_key
from gnnkit.errors import ConfigError
from gnnkit.experiment.reader import read_table, write_table
from gnnkit.experiment.samplers import OWN_OPTIONS, SAINT, SAMPLERS
from gnnkit.experiment.transforms import TRANSFORMS
from gnnkit.nn.config import ModelConfig
from gnnkit.sequence.config import SequenceModelConfig

logger = logging.getLogger("gnnkit.experiment")


@dataclass(frozen=True)
class TransformConfig:
    """One transform of the data: ``{kind = "random_walk", steps = 20}``.

    Attributes:
        kind: A name from ``gnnkit.experiment.transforms.TRANSFORMS``.
        options: Its hyper-parameters, written beside ``kind`` in the same table.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the name. Raises ConfigError."""
        if self.kind not in TRANSFORMS:
            raise unknown_key(self.kind, TRANSFORMS, "data.transforms", "transform")

    @classmethod
    def from_table(cls, table: Mapping[str, Any], section: str) -> "TransformConfig":
        """Reads the flat table. Raises ConfigError."""
        return cls(*_kind_and_options(table, section, TRANSFORMS))

    def to_table(self) -> dict[str, Any]:
        """The flat table."""
        return {"kind": self.kind, **self.options}


@dataclass(frozen=True)
class SamplerConfig:
    """Training on parts of one graph: ``{kind = "saint_walk", num_roots = 2000, walk_length = 2}``.

    Attributes:
        kind: A name from ``gnnkit.experiment.samplers.SAMPLERS``.
        options: Its settings, written beside ``kind`` in the same table.
        batches_per_step: A step is of the disjoint union of so many batches of the sampler; the last step of an epoch
            has the rest.
        aggregator_norm: GraphSAINT alone: multiply each message by the sampler's weight of its edge, so that what
            arrives at a node is an estimate of what does in the whole graph. ``None``: true for GraphSAINT.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    batches_per_step: int = 1
    aggregator_norm: bool | None = None

    def __post_init__(self) -> None:
        """Checks the name and what is not the sampler's. Raises ConfigError."""
        if self.kind not in SAMPLERS:
            raise unknown_key(self.kind, SAMPLERS, "sampler", "kind")
        count, norm = self.batches_per_step, self.aggregator_norm
        _check(type(count) is int and count >= 1, "sampler.batches_per_step", "an integer of at least 1", count)
        _check(norm is None or type(norm) is bool, "sampler.aggregator_norm", "true or false", norm)
        if norm is not None and not self.is_saint:
            raise ConfigError(
                f'sampler.aggregator_norm cannot be set: it is of GraphSAINT, not of "{self.kind}"; leave it out'
            )

    @property
    def is_saint(self) -> bool:
        """Whether it is one of GraphSAINT's."""
        return self.kind in SAINT

    @classmethod
    def from_table(cls, table: Mapping[str, Any], section: str) -> "SamplerConfig":
        """Reads the flat table. Raises ConfigError."""
        kind, options = _kind_and_options(table, section, SAMPLERS)
        own = {key: options.pop(key) for key in OWN_OPTIONS if key in options}
        return cls(kind, options, **own)

    def to_table(self) -> dict[str, Any]:
        """The flat table."""
        norm = {} if self.aggregator_norm is None else {"aggregator_norm": self.aggregator_norm}
        return {"kind": self.kind, **self.options, "batches_per_step": self.batches_per_step, **norm}


@dataclass(frozen=True)
class DataConfig:
    """Which data set, with which options, after which transforms.

    Attributes:
        name: A name of ``gnnkit data list``.
        options: Options of that data set (the ring size of ring-transfer, for instance).
        transforms: Applied to each graph in this order, once; the result is cached on disk.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    transforms: tuple[TransformConfig, ...] = ()


@dataclass(frozen=True)
class OptimConfig:
    """AdamW.

    Attributes:
        lr: Learning rate at the top of the schedule.
        weight_decay: Decoupled weight decay, of all parameters but those marked ``no_weight_decay``.
        betas: Decay rates of the two moments.
        clip_norm: Largest Euclidean norm of the gradient of all parameters together; ``None``: no clipping.
    """

    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        """Checks the values. Raises ConfigError."""
        _check(math.isfinite(self.lr) and self.lr > 0, "lr", "a finite number above 0", self.lr)
        _check(
            math.isfinite(self.weight_decay) and self.weight_decay >= 0, "weight_decay", "0 or more", self.weight_decay
        )
        _check(all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers in [0, 1)", self.betas)
        _check(
            self.clip_norm is None or self.clip_norm > 0,
            "clip_norm",
            "a number above 0 (or leave it out)",
            self.clip_norm,
        )


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes from epoch to epoch.

    Attributes:
        kind: ``constant``, ``cosine`` (to zero at the last epoch) or ``plateau``.
        warmup_epochs: Linear rise from zero over this many epochs, before any of the three.
        factor: Plateau: the learning rate is multiplied by this.
        patience: Plateau: epochs without improvement that are borne before it is.
        min_lr: Plateau: the learning rate never falls below this.
        monitor: Plateau: the validation ``loss`` or the validation ``metric``.
    """

    kind: Literal["constant", "cosine", "plateau"] = "constant"
    warmup_epochs: int = 0
    factor: float = 0.5
    patience: int = 10
    min_lr: float = 0.0
    monitor: Literal["loss", "metric"] = "loss"

    def __post_init__(self) -> None:
        """Checks the values. Raises ConfigError."""
        _check(self.warmup_epochs >= 0, "warmup_epochs", "0 or more", self.warmup_epochs)
        _check(0 < self.factor < 1, "factor", "a number in (0, 1)", self.factor)
        _check(self.patience >= 0, "patience", "0 or more", self.patience)
        _check(self.min_lr >= 0, "min_lr", "0 or more", self.min_lr)


@dataclass(frozen=True)
class TrainConfig:
    """The training loop.

    Attributes:
        epochs: Epochs that are run; the cosine schedule ends with them.
        protocol_epochs: Epochs of the protocol where ``epochs`` departs from it (``gnnkit run --epochs``); ``None``:
            the same. A record of fewer epochs than the protocol is marked as a short schedule.
        batch_size: Graphs, or links, per step; ``None`` where a step is of the whole graph or of what a sampler gives.
        eval_batch_size: Graphs per evaluation step, or pairs that are scored at a time, or targets of shaDow;
            ``None``: as ``batch_size``.
        seed: Seed of the initial weights, of dropout and of the order of the graphs.
        loss: ``auto`` takes ``bce`` for (multi-)label tasks, ``cross_entropy`` for classes and ``l1`` for regression.
        early_stopping: Epochs without a better validation metric after which training ends; ``None``: never.
        precision: ``bfloat16`` runs the model under autocast; weights and the optimizer stay in float32.
        device: A torch device, ``cpu`` or ``cuda``.
        checkpoint_every_steps: Steps between checkpoints within an epoch; ``None``: only at the end of an epoch.
        num_threads: Threads that torch uses; ``None``: as it finds them.
    """

    epochs: int
    batch_size: int | None = None
    protocol_epochs: int | None = None
    eval_batch_size: int | None = None
    seed: int = 0
    loss: Literal["auto", "bce", "cross_entropy", "l1", "mse"] = "auto"
    early_stopping: int | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    checkpoint_every_steps: int | None = None
    num_threads: int | None = None

    def __post_init__(self) -> None:
        """Checks the values. Raises ConfigError."""
        for name in ("epochs", "batch_size", "protocol_epochs", "eval_batch_size", "early_stopping"):
            _check_positive(name, getattr(self, name))
        for name in ("checkpoint_every_steps", "num_threads"):
            _check_positive(name, getattr(self, name))
        _check(0 <= self.seed < 2**63, "seed", "an integer in [0, 2^63)", self.seed)


@dataclass(frozen=True)
class NodeConfig:
    """How nodes of one graph are classified.

    Attributes:
        inductive: Train on the subgraph of the training nodes alone; validation and test see the whole graph, and so do
            transforms of the data, encodings among them. False: training sees all nodes and edges, and the labels of
            the training nodes.
    """

    inductive: bool = False


@dataclass(frozen=True)
class LinkConfig:
    """How links of one graph are predicted. The model of the configuration encodes nodes, a decoder scores pairs.

    Attributes:
        decoder: ``inner_product``, ``mlp`` (of the entrywise product), or ``ncn`` and ``ncnc``, which look at common
            neighbours; see ``gnnkit.nn``.
        decoder_layers: Affine maps of the decoder's network; not used by ``inner_product``.
        negatives: Pairs that are no training links drawn for each link of a step, all different within it.
        hide_targets: Take the links of a step out of the graph before it is encoded and common neighbours are looked
            for, in training.
    """

    decoder: Literal["inner_product", "mlp", "ncn", "ncnc"] = "mlp"
    decoder_layers: int = 2
    negatives: int = 1
    hide_targets: bool = True

    def __post_init__(self) -> None:
        """Checks the values. Raises ConfigError."""
        for name in ("decoder_layers", "negatives"):
            _check_positive(name, getattr(self, name))


@dataclass(frozen=True)
class ExperimentConfig:
    """One cell of one table.

    Attributes:
        table: The table it belongs to; names the folder of its results.
        method: How the method is called in that table.
        protocol: What was done, in words, for the reader of the table.
        data: The data.
        model: The model, ``gnnkit.sequence.SequenceModelConfig`` where the table has a key ``kind``, else
            ``gnnkit.nn.ModelConfig``.
        train: The training loop.
        optim: The optimizer.
        schedule: The learning rate.
        nodes: For a data set of one graph with labelled nodes; ``None``: as ``NodeConfig()``.
        links: For a data set of one graph with links to predict; ``None``: as ``LinkConfig()``.
        sampler: For a data set of one graph with labelled nodes, what a step is of; ``None``: of the whole graph.
    """

    table: str
    method: str
    protocol: str
    data: DataConfig
    model: ModelConfig | SequenceModelConfig
    train: TrainConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    nodes: NodeConfig | None = None
    links: LinkConfig | None = None
    sampler: SamplerConfig | None = None

    def __post_init__(self) -> None:
        """Checks the values against each other. Raises ConfigError."""
        legal = self.table and self.table not in (".", "..") and not set(self.table) & set("/\\:\0")
        _check(bool(legal), "table", "a name that can be a folder", self.table)
        if self.schedule.kind == "cosine" and self.schedule.warmup_epochs >= self.train.epochs:
            raise ConfigError(
                f"schedule.warmup_epochs must be below train.epochs, got {self.schedule.warmup_epochs} and "
                f"{self.train.epochs}: all epochs would be warm-up; train longer or lower warmup_epochs"
            )

    @property
    def protocol_epochs(self) -> int:
        """Epochs that the protocol asks for."""
        return self.train.protocol_epochs or self.train.epochs

    def override(self, *, seed: int | None = None, epochs: int | None = None) -> "ExperimentConfig":
        """A copy with another seed or number of epochs; the protocol's number of epochs is kept beside it.

        Where fewer epochs leave no room for the warm-up, it is shortened to all epochs but the last; a line in the log
        says so.
        """
        train, schedule = self.train, self.schedule
        if seed is not None:
            train = dataclasses.replace(train, seed=seed)
        if epochs is not None and epochs != train.epochs:
            protocol = None if epochs == self.protocol_epochs else self.protocol_epochs
            train = dataclasses.replace(train, epochs=epochs, protocol_epochs=protocol)
            if schedule.warmup_epochs >= epochs:
                logger.warning(
                    "%d warm-up epochs do not fit into %d: shortened to %d", schedule.warmup_epochs, epochs, epochs - 1
                )
                schedule = dataclasses.replace(schedule, warmup_epochs=epochs - 1)
        return dataclasses.replace(self, train=train, schedule=schedule)

    def to_dict(self) -> dict[str, Any]:
        """Plain tables, fit for JSON; ``config_from_dict`` gives the same configuration back."""
        return write_table(self)


def config_from_dict(table: Mapping[str, Any]) -> ExperimentConfig:
    """Reads a configuration from plain tables.

    Raises:
        ConfigError: On an unknown or missing key, a wrong type or a broken invariant.
    """
    return read_table(ExperimentConfig, table)


def load_config(path: str | Path) -> ExperimentConfig:
    """Reads a configuration from a TOML file.

    Raises:
        ConfigError: If there is no such file, it is not TOML, or it does not describe an experiment.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(
            f"there is no configuration file {path}; `gnnkit run` takes the path of a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    try:
        return config_from_dict(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def config_differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys in which two configurations differ, each with both values."""
    lines = []
    for key in sorted({*first, *second}):
        a, b = first.get(key), second.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += config_differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r} and {b!r}")
    return lines


def _kind_and_options(table: Mapping[str, Any], section: str, kinds: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Of a flat table the name in ``kind``, and the rest."""
    kind = table.get("kind")
    if not isinstance(kind, str):
        raise ConfigError(f'[{section}] needs a key "kind", one of {", ".join(sorted(kinds))}; got {kind!r}')
    return kind, {key: value for key, value in table.items() if key != "kind"}


def _check(holds: bool, name: str, expected: str, given: Any) -> None:
    if not holds:
        raise ConfigError(f"{name} must be {expected}, got {given!r}")


def _check_positive(name: str, value: int | None) -> None:
    _check(value is None or value >= 1, name, "1 or more", value)
