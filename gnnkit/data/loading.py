"""``load``: from the name of a dataset to its graphs."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gnnkit.data import brec, csl, folds, graph6, hypergcn, links, nodes, ogb_molecules, peptides, storage
from gnnkit.data.checks import check_statistics
from gnnkit.data.columns import DatasetInfo
from gnnkit.data.dataset_card import Card, card, check_roles, nearest
from gnnkit.data.download import choose, describe, obtain
from gnnkit.data.files import cache_root, exclusive, logger
from gnnkit.data.molecule import FEATURE_VERSION, rdkit_version
from gnnkit.data.packed import GraphDataset
from gnnkit.data.synthetic import ring_transfer, tree_neighbors_match
from gnnkit.data.tu import read_tu
from gnnkit.data.tu_gin import read_tu_gin
from gnnkit.errors import ConfigError, DataError

PROCESSING_VERSION = 1
"""Part of every cache key; raise it when the readers give other tensors for the same files."""

_GENERATORS: dict[str, Callable[..., GraphDataset]] = {
    "ring-transfer": ring_transfer,
    "tree-neighbors-match": tree_neighbors_match,
}
_FIXED: dict[str, Callable[..., GraphDataset]] = {
    "ogb-molecules": ogb_molecules.read_ogb_molecules,
    "graph6": graph6.read_graph6,
    "brec": brec.read_brec,
}
_FOLDED: dict[str, Callable[..., GraphDataset]] = {"tu": read_tu, "tu-gin": read_tu_gin, "csl": csl.read_csl}
_ROLES: dict[str, tuple[str, ...]] = {
    "peptides": peptides.ROLES,
    "ogb-molecules": ogb_molecules.ROLES,
    "graph6": graph6.ROLES,
    "brec": brec.ROLES,
    "tu": ("archive",),
    "tu-gin": ("archive",),
    "csl": csl.ROLES,
}


def load(
    name: str,
    *,
    root: str | Path | None = None,
    transform: Callable[[Any], Any] | Sequence[Callable[[Any], Any]] | None = None,
    progress: bool = True,
    num_workers: int | None = None,
    **options: Any,
) -> GraphDataset:
    """Loads a dataset by name.

    Raw files are looked for under the data root, fetched if missing, and verified against the SHA-256 on the dataset's
    card before use. They are processed once; the result is compared with the statistics on the card and kept under
    ``cache_root()/processed``. A damaged cache is noticed and made again, with a line in the log. Generated datasets
    need no files and no cache.

    Args:
        name: Name of a dataset; :func:`gnnkit.data.names` lists them.
        root: Data root; default ``GNNKIT_DATA`` or the user cache folder. It may be read-only.
        transform: PyG transform, or a list of them, applied to every graph once and kept on disk.
        progress: Show progress bars.
        num_workers: Processes that turn SMILES into graphs; default all cores.
        **options: Options as listed on the dataset's card, of a generated dataset or of one with folds.

    Raises:
        ConfigError: If the dataset or an option is unknown (the message names the nearest one), or a value is wrong.
        DataError: If a file is missing, damaged or has the wrong checksum, or the graphs are not what the card states.
        BackendError: If RDKit is needed and not installed.

    Determinism: a function of the files and options, not of ``num_workers``.
    """
    found = card(name)
    _check_kind(found)
    check_options(found, options)
    if found.source in _GENERATORS:
        dataset = generate(found, options)
    else:
        dataset = _load_files(found, options, None if root is None else Path(root), num_workers, progress)
    if transform is not None:
        dataset = dataset.with_transform(transform, progress=progress)
    return dataset


def _check_kind(found: Card) -> None:
    """Raises ConfigError, naming the function to use, where a dataset is no set of graphs."""
    if found.source == hypergcn.SOURCE:
        raise ConfigError(f"{found.name} is one hypergraph, no set of graphs; use gnnkit.data.load_hypergraph")
    if found.source in nodes.SOURCES:
        raise ConfigError(
            f"{found.name} is one graph with labelled nodes, no set of graphs; use gnnkit.data.load_nodes"
        )
    if found.source == links.SOURCE:
        raise ConfigError(
            f"{found.name} is one graph with links to predict, no set of graphs; use gnnkit.data.load_links"
        )


def check_options(found: Card, options: dict[str, Any]) -> None:
    """Checks the options given for a dataset against those on its card.

    Raises:
        ConfigError: If one is unknown, or has another type than its default.
    """
    for key, value in options.items():
        if key not in found.options:
            known = f"its options are {', '.join(found.options)}" if found.options else "it has none"
            raise ConfigError(f"{found.name} has no option {key!r}{nearest(key, found.options)}; {known}")
        expected = type(found.options[key])
        accepted = (int, float) if expected is float else (expected,)
        if type(value) not in accepted:
            raise ConfigError(f"option {key} of {found.name} must be of type {expected.__name__}, got {value!r}")


def generate(found: Card, options: dict[str, Any]) -> GraphDataset:
    """Makes a generated dataset, and compares it with its card where its options are the card's."""
    info = DatasetInfo(found.name, found.task, found.metric, found.num_outputs, notes=found.notes)
    complete = found.options | options
    dataset = _GENERATORS[found.source](info=info, **complete)
    if complete == found.options:
        check_statistics(found.name, found.statistics, dataset.statistics())
    return dataset


def _load_files(
    found: Card, options: dict[str, Any], root: Path | None, num_workers: int | None, progress: bool
) -> GraphDataset:
    if found.source not in _ROLES:
        known = [*_GENERATORS, *_ROLES]
        raise ConfigError(f"card of {found.name}: unknown source {found.source!r}{nearest(found.source, known)}")
    check_roles(found, _roles(found, options))
    folder = processed_folder(found, root, options)
    cached = _read_cache(folder)
    if cached is not None:
        return cached
    with exclusive(folder.with_suffix(".lock")):
        # Another process may have done the work while this one waited.
        cached = _read_cache(folder, warn=False)
        if cached is not None:
            return cached
        dataset = process(found, root, options, num_workers=num_workers, progress=progress)
        storage.keep(dataset, folder)
        return dataset


def _roles(found: Card, options: dict[str, Any]) -> tuple[str, ...]:
    roles = _ROLES[found.source]
    if found.source not in _FOLDED or (found.options | options).get("splits") != folds.LISTED:
        return roles
    if not found.candidates("folds"):
        raise ConfigError(f"{found.name} has no listed folds; use splits={folds.STRATIFIED!r}")
    return (*roles, "folds")


def processed_folder(found: Card, root: Path | None = None, options: dict[str, Any] | None = None) -> Path:
    """Where the processed form of a dataset is kept; the name depends on everything that its content depends on."""
    key: dict[str, Any] = {
        "name": found.name,
        "processing": PROCESSING_VERSION,
        "format": storage.FORMAT,
        "files": {role: choose(found, role, root).sha256 for role in _roles(found, options or {})},
        "card": [found.task, found.metric, found.num_outputs, found.notes, found.statistics],
    }
    if found.source == "peptides":
        key |= {"rdkit": rdkit_version(), "features": FEATURE_VERSION}
    if found.options:
        key["options"] = found.options | (options or {})
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_root() / "processed" / f"{found.name}-{digest[:24]}"


def _read_cache(folder: Path, *, warn: bool = True) -> GraphDataset | None:
    if not storage.exists(folder):
        return None
    try:
        return storage.read(folder)
    except DataError as error:
        if warn:
            logger.warning("processing again, because the cached dataset cannot be used: %s", error)
        return None


def process(
    found: Card,
    root: Path | None = None,
    options: dict[str, Any] | None = None,
    *,
    num_workers: int | None = None,
    progress: bool = False,
) -> GraphDataset:
    """Reads a dataset from its verified raw files, without looking at the cache, and checks its statistics.

    Raises:
        DataError: If a file is missing, damaged or has the wrong checksum, or the graphs are not what the card states.
    """
    complete = found.options | (options or {})
    located = obtain(found, _roles(found, complete), root=root, progress=progress)
    paths = {role: entry.path for role, entry in located.items()}
    info = describe(found, located, complete)
    if found.source == "peptides":
        dataset = peptides.read_peptides(paths, info, num_workers=num_workers, progress=progress)
    elif found.source in _FOLDED:
        dataset = _FOLDED[found.source](paths, info, complete)
    else:
        dataset = _FIXED[found.source](paths, info)
    # The sizes of the splits are those of the options on the card.
    unknown = set() if complete == found.options else {"split"}
    expected = {key: value for key, value in found.statistics.items() if key not in unknown}
    check_statistics(found.name, expected, dataset.statistics())
    return dataset
