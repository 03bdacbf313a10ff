"""The one place where a configuration becomes a data set and a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from gnnkit.errors import BackendError, ConfigError, DataError
from gnnkit.experiment.config import ExperimentConfig, LinkConfig
from gnnkit.experiment.metrics import get_metric
from gnnkit.experiment.transforms import build_transform
from gnnkit.nn.config import EncodingConfig

# Arguments of gnnkit.data.load that are no options of a data set.
_RESERVED_OPTIONS = {"name", "root", "transform", "progress", "num_workers"}


class AnyDataset(Protocol):
    """What is asked of every data set, be it of many graphs or of one."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def task(self) -> str:
        """``multilabel``, ``binary``, ``regression`` or ``multiclass``."""
        ...

    @property
    def metric(self) -> str:
        """A name from ``gnnkit.experiment.metrics.METRICS``."""
        ...

    @property
    def num_outputs(self) -> int:
        """Width of the model's output."""
        ...

    @property
    def checksums(self) -> Mapping[str, str]:
        """SHA-256 of each raw file."""
        ...

    @property
    def node(self) -> Mapping[str, Tensor]:
        """Node attributes, ``[N, *]`` over all graphs."""
        ...

    @property
    def edge(self) -> Mapping[str, Tensor]:
        """Edge attributes, ``[E, *]`` over all graphs."""
        ...


class Dataset(AnyDataset, Protocol):
    """What is asked of a set of graphs; ``gnnkit.data.GraphDataset`` is one."""

    @property
    def graph(self) -> Mapping[str, Tensor]:
        """Graph attributes, ``[G, *]``, with labels ``y``."""
        ...

    @property
    def split(self) -> Mapping[str, Tensor]:
        """Graph ids of ``train``, ``val`` and ``test``."""
        ...

    def batch(self, ids: Any) -> Any:
        """The graphs ``ids`` as one PyG batch with labels ``y``."""
        ...


def build_dataset(config: ExperimentConfig, *, root: Path | None = None, progress: bool = True) -> AnyDataset:
    """Loads the data of an experiment, transformed.

    Args:
        config: The experiment.
        root: Folder of the raw files; ``None``: where ``gnnkit.data`` looks by default.
        progress: Whether processing shows a bar.

    Raises:
        ConfigError: If there is no such data set, option or transform.
        DataError: If its files are missing or damaged, or a split is missing or empty.
    """
    from gnnkit import data
    from gnnkit.data import links, nodes
    from gnnkit.data.loading import check_options

    taken = _RESERVED_OPTIONS & config.data.options.keys()
    if taken:
        raise ConfigError(
            f"[data.options]: {', '.join(sorted(taken))} cannot be set here; an option is of the data set"
        )
    transforms = [build_transform(transform) for transform in config.data.transforms]
    found, options = data.card(config.data.name), config.data.options
    if found.source in nodes.SOURCES:
        dataset = nodes.read_nodes(found, options, root=root, progress=progress).with_transforms(transforms)
    elif found.source == links.SOURCE:
        check_options(found, options)
        dataset = links.read_links(found, root=root, progress=progress).with_node_numbers().with_transforms(transforms)
    else:
        dataset = data.load(config.data.name, root=root, transform=transforms or None, progress=progress, **options)
    check_dataset(dataset)
    return dataset


def build_model(config: ExperimentConfig, dataset: AnyDataset) -> nn.Module:
    """Makes the model of an experiment, its weights drawn from torch's global generator.

    Raises:
        ConfigError: If the model's encoders do not fit the data.
    """
    from gnnkit.nn import GraphModel
    from gnnkit.sequence import SequenceModelConfig, build_sequence_model

    for encoding in config.model.encodings:
        _check_encoding(encoding, dataset)
    node_dims = _input_dims(config.model.node_encoder, "x", dataset.node, getattr(dataset, "node_categories", None))
    edge_categories = getattr(dataset, "edge_categories", None)
    edge_dims = _input_dims(config.model.edge_encoder, "edge_attr", dataset.edge, edge_categories)
    kind = kind_of(dataset)
    if kind != "graphs" and config.model.pool != "none":
        raise ConfigError(
            f"[model]: {dataset.name} is one graph, and predictions are for its nodes or pairs of them: set "
            f'pool = "none", got {config.model.pool!r}'
        )
    num_outputs = config.model.hidden_dim if kind == "links" else dataset.num_outputs
    dims = {"node_dims": node_dims, "edge_dims": edge_dims, "num_outputs": num_outputs}
    if isinstance(config.model, SequenceModelConfig):
        model = build_sequence_model(config.model, **dims)
    else:
        model = GraphModel(config.model, **dims)
    return _with_decoder(config, model) if kind == "links" else model


def _with_decoder(config: ExperimentConfig, encoder: nn.Module) -> nn.Module:
    from gnnkit.nn import LinkModel, make_link_decoder

    links = config.links or LinkConfig()
    width, dropout = config.model.hidden_dim, config.model.dropout
    decoder = make_link_decoder(links.decoder, width, num_layers=links.decoder_layers, dropout=dropout)
    return LinkModel(encoder, decoder, max_pairs=config.train.eval_batch_size or config.train.batch_size)


def check_dataset(dataset: AnyDataset) -> None:
    """Refuses a data set that cannot be trained on.

    Raises:
        DataError: If a split is missing or empty, or the labels do not fit the task,
            or the metric is undefined on the labels of a split.
    """
    kind = kind_of(dataset)
    if kind == "links":
        return _check_pairs(dataset)
    split: Mapping[str, Tensor] = cast(Any, dataset).split
    for name in ("train", "val", "test"):
        if name not in split or len(split[name]) == 0:
            raise DataError(f"{dataset.name} has no {kind} in its {name} split; training needs train, val and test")
    labels = dataset.node.get("y") if kind == "nodes" else cast(Dataset, dataset).graph.get("y")
    if labels is None:
        return None
    _check_labels(dataset, labels)
    # An undefined metric should cost no epoch: it does not depend on the scores.
    scores = torch.zeros(len(labels), dataset.num_outputs)
    for name in ("val", "test"):
        ids = split[name]
        try:
            get_metric(dataset.metric).function(labels[ids], scores[ids])
        except DataError as error:
            raise DataError(f"{dataset.name}, {name} split: {error}") from None


def kind_of(dataset: AnyDataset) -> str:
    """What is predicted: ``graphs``, or of one graph ``nodes`` or ``links``."""
    return getattr(dataset, "kind", "graphs")


def _check_pairs(dataset: Any) -> None:
    pairs = dataset.statistics()["pairs"]
    for name in ("train", "val", "val_negative", "test", "test_negative"):
        if not pairs.get(name):
            raise DataError(f"{dataset.name} has no {name} pairs; training needs links, and negatives to evaluate")


def _check_labels(dataset: AnyDataset, labels: Tensor) -> None:
    if dataset.task != "multiclass":
        if labels.dim() != 2 or labels.shape[1] != dataset.num_outputs:
            raise DataError(
                f"{dataset.name}: expected labels [{kind_of(dataset)}, {dataset.num_outputs}], "
                f"got shape {tuple(labels.shape)}"
            )
        return
    if labels.is_floating_point():
        raise DataError(
            f"{dataset.name}: classes must be integers, got {labels.dtype}; a missing class cannot be trained on"
        )
    if labels.numel() and (labels.min() < 0 or labels.max() >= dataset.num_outputs):
        raise DataError(
            f"{dataset.name}: classes must lie in 0 to {dataset.num_outputs - 1}, "
            f"got {labels.min().item()} to {labels.max().item()}"
        )


def select_device(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        ConfigError: If there is no such device.
        BackendError: If this machine does not have it.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f'train.device must be "cpu" or "cuda" (or "cuda:1", ...), got {name!r}') from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f'train.device must be "cpu" or "cuda" (or "cuda:1", ...), got {name!r}')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackendError(
            f'train.device is "{name}", but torch sees {torch.cuda.device_count()} GPU(s); set it to "cpu"'
        )
    return device


def graphs_of(dataset: Dataset, split: str, size: int) -> Sequence[Tensor]:
    """The graph ids of a split in their order, cut into pieces of ``size``."""
    return dataset.split[split].split(size)


def _check_encoding(encoding: EncodingConfig, dataset: AnyDataset) -> None:
    attr, in_dim = encoding.attr, encoding.in_dim
    suffixes = ("",) if encoding.encoder == "linear" else ("", "_eigenvalue", "_mask")
    for name in (attr + suffix for suffix in suffixes):
        if name not in dataset.node:
            raise ConfigError(
                f'[model.encodings]: the data have no node attribute "{name}", only {", ".join(sorted(dataset.node))}; '
                "name the transform that makes it in data.transforms"
            )
    width = dataset.node[attr].shape[-1]
    if width != in_dim:
        raise ConfigError(f'[model.encodings]: "{attr}" is {width} wide in the data, but in_dim is {in_dim}')


def _input_dims(
    encoder: str, key: str, values: Mapping[str, Tensor], categories: Sequence[int] | None
) -> int | tuple[int, ...] | None:
    if encoder in ("atom", "bond", "none"):
        return None
    if key not in values:
        raise ConfigError(f'[model]: the encoder "{encoder}" reads "{key}", which the data do not have')
    if encoder != "embedding":
        return values[key].shape[-1]
    if categories is None:
        raise ConfigError(f'[model]: "embedding" needs categories, "{key}" of these data has none; use "linear"')
    return tuple(categories)
