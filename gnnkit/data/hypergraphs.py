"""``load_hypergraph``: from the name of a dataset to its one hypergraph, whose nodes are labelled."""

from pathlib import Path

from gnnkit.data import hypergcn
from gnnkit.data.checks import check_statistics
from gnnkit.data.dataset_card import Card, card, check_roles, check_source
from gnnkit.data.download import obtain
from gnnkit.errors import ConfigError, DataError
from gnnkit.hypergraph import HyperData
from gnnkit.ops._checks import check_flag


def load_hypergraph(
    name: str,
    *,
    split: int | None = 0,
    features: bool = True,
    root: str | Path | None = None,
    progress: bool = True,
) -> HyperData:
    """Loads a hypergraph whose nodes are to be classified.

    Raw files are looked for under the data root, fetched if missing, verified against the SHA-256 on the dataset's
    card, read, and compared with the statistics there. Nothing is kept on disk: the raw files are as quick to read.

    Args:
        name: ``cocitation-cora``, ``cocitation-citeseer``, ``cocitation-pubmed``, ``coauthorship-cora`` or
            ``coauthorship-dblp``.
        split: Which of the published splits ``train_mask`` and ``test_mask`` are, counted from 0. There is no
            validation set: all nodes outside of ``train_mask`` are test nodes. None: no masks.
        features: Whether to read ``x``. Where the features are missing, as for PubMed and DBLP, False gives the rest.
        root: Data root; default ``GNNKIT_DATA`` or the user cache folder. It may be read-only.
        progress: Show progress bars.

    Returns:
        ``hyperedge_index``, ``num_nodes``, ``num_hyperedges``, ``y``, and as asked for ``x``, ``train_mask`` and
        ``test_mask``; see :func:`gnnkit.data.hypergcn.read_hypergcn`.

    Raises:
        ConfigError: If there is no such dataset, it is of another kind, or ``split`` is not one of its splits.
        DataError: If a file is missing, damaged or has the wrong checksum, the features or splits were never to be had,
            or the hypergraph is not what the card states.

    Determinism: a function of the files and arguments.
    """
    found = card(name)
    check_source(found, (hypergcn.SOURCE,), "hypergraph")
    check_flag("features", features)
    if features and not found.candidates("features"):
        raise DataError(
            f"the features of {name} are missing: {_note(found, 'features')} "
            "load_hypergraph(..., features=False) gives the hypergraph without x"
        )
    splits = _splits(found)
    if split is not None and not splits:
        raise DataError(
            f"the splits of {name} are missing: {_note(found, 'splits')} "
            "load_hypergraph(..., split=None) gives the hypergraph without masks"
        )
    if split is not None and (isinstance(split, bool) or split not in range(len(splits))):
        raise ConfigError(f"split of {name} must be 0 to {len(splits) - 1}, or None, got {split!r}")
    folder = None if root is None else Path(root)
    return _read(found, folder, split, features=features, progress=progress)


def process(found: Card, root: Path | None = None, *, progress: bool = False) -> HyperData:
    """Reads all that a dataset has, with its first split, and checks it against its card.

    Raises:
        DataError: If a file is missing, damaged or has the wrong checksum, or the hypergraph is not what the card
            states.
    """
    split = 0 if _splits(found) else None
    return _read(found, root, split, features=bool(found.candidates("features")), progress=progress)


def _read(found: Card, root: Path | None, split: int | None, *, features: bool, progress: bool) -> HyperData:
    roles = [
        *hypergcn.ROLES,
        *(["features"] if features else []),
        *(_splits(found)[split:][:1] if split is not None else []),
    ]
    check_roles(found, roles)
    located = obtain(found, roles, root=root, progress=progress)
    paths = {"split" if role.startswith("split-") else role: entry.path for role, entry in located.items()}
    data = hypergcn.read_hypergcn(paths, found.num_outputs)
    left_out = {key for key, there in (("features", features), ("split", split is not None)) if not there}
    expected = {key: value for key, value in found.statistics.items() if key not in left_out}
    check_statistics(found.name, expected, hypergcn.statistics(data))
    return data


def _splits(found: Card) -> list[str]:
    return [role for role in found.roles if role.startswith("split-")]


def _note(found: Card, word: str) -> str:
    return next((note for note in found.notes if word in note.lower()), f"no file on the card holds the {word}.")
