"""Graphs in files: edge lists, NumPy and SciPy archives, GraphML, and files of PyTorch Geometric."""

import io
import logging
import pickle
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.separate import separate
from torch_geometric.data.storage import GlobalStorage

from gnnkit._files import write_atomic
from gnnkit._optional import require
from gnnkit.compat.pyg import edge_attributes
from gnnkit.errors import DataError
from gnnkit.transforms.edge_lists import edge_list_text, read_edge_list

TEXT = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
SUFFIXES = (*TEXT, ".npz", ".graphml", ".pt")
NAMES = "node_names"
_OF_DATA = [DataEdgeAttr, DataTensorAttr, GlobalStorage]

logger = logging.getLogger("gnnkit.transforms")


@dataclass
class GraphFile:
    """What a file holds.

    Attributes:
        graphs: The graphs, with both directions of every edge.
        kind: ``"one"``; ``"list"`` or ``"dataset"``, for a ``.pt`` file of several.
        names: Names of the nodes, where the file has them.
        once: Whether the file lists each undirected edge once.
        sparse: Whether it is a SciPy matrix.
        networkx: The graph as NetworkX has read it, with all attributes.
    """

    graphs: list[Any]
    kind: str = "one"
    names: list[str] | None = None
    once: bool = False
    sparse: bool = False
    networkx: Any = field(default=None, repr=False)


def check_suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raises DataError where the suffix is not that of a format."""
    if path.suffix.lower() not in suffixes:
        raise DataError(f"{path}: the suffix must tell the format, one of {', '.join(suffixes)}")


def read_graphs(
    path: Path, *, num_nodes: int | None = None, undirected: bool = False, directed: bool | None = None
) -> GraphFile:
    """Reads a file in the format that its suffix names. Nothing in it is run.

    Args:
        path: The file.
        num_nodes: For text, the number of nodes; they are then the numbers below.
        undirected: Take every edge of a single graph for undirected. False: this is done where none has its reverse
            in the file, and an error where only some have.
        directed: Take every edge as it is. None: the same as False, where it cannot be asked for.

    Raises:
        DataError: If the file cannot be read, is damaged, holds what a graph file has no need of, or is directed.
        BackendError: If GraphML is read without NetworkX.
    """
    check_suffix(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix in TEXT:
        found = _read_text(path, num_nodes)
    elif suffix == ".npz":
        found = _read_npz(path)
    elif suffix == ".graphml":
        found = _read_graphml(path)
    else:
        found = _read_pt(path)
    if found.kind == "one" and not directed:
        hint = "" if directed is None else ", or as they are with --directed"
        found.once = _symmetrise(found.graphs[0], path, undirected, hint)
    return found


def write_graphs(path: Path, results: Sequence[Any], source: GraphFile) -> None:
    """Writes the results of :func:`read_graphs` after a change, atomically, each edge as often as the source has it.

    Raises:
        DataError: If the format holds one graph and there are several.
        OSError: If the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix == ".pt":
        content = _pt_bytes(results, source.kind)
    elif source.kind != "one":
        raise DataError(f"{path}: a file of several graphs is written as .pt, one {suffix} file holds one graph")
    elif suffix in TEXT:
        content = _text_bytes(results[0], source, TEXT[suffix])
    elif suffix == ".npz":
        content = _npz_bytes(results[0], source)
    else:
        content = _graphml_bytes(results[0], source)
    write_atomic(path, content)


def _symmetrise(data: Any, path: Path, undirected: bool, hint: str) -> bool:
    """Adds the reverse of each edge where the file has none; returns whether it had none."""
    source, target = data.edge_index
    proper = source != target
    size = int(data.num_nodes)
    forward, backward = source * size + target, target * size + source
    reversed_too = torch.isin(backward, forward)[proper]
    if bool(reversed_too.all()) and (reversed_too.numel() > 0 or not undirected):
        return False
    if bool(reversed_too.any()) and not undirected:
        raise DataError(
            f"{path}: {int((~reversed_too).sum())} of {reversed_too.numel()} edges have no reverse in the file, the "
            "others have, so it is not clear what is undirected; list every edge once, or both directions of every "
            f"edge, or take every line for an undirected edge with --undirected{hint}"
        )
    attributes = edge_attributes(data)
    logger.info("%s lists each edge once: %d are taken as undirected", path, int(proper.sum()))
    data.edge_index = torch.cat([data.edge_index, data.edge_index[:, proper].flip(0)], dim=1)
    for key, value in attributes.items():
        data[key] = torch.cat([value, value[proper]])
    return True


def _read_text(path: Path, num_nodes: int | None) -> GraphFile:
    found = read_edge_list(path, num_nodes)
    for column in found.left_out:
        logger.info("%s: column %s is left out", path, column)
    data = Data(edge_index=found.edge_index, num_nodes=len(found.names))
    if found.weight is not None:
        data.edge_weight = found.weight
    if found.edge_type is not None:
        data.edge_type = found.edge_type
    return GraphFile([data], names=found.names)


def _lines(data: Any, source: GraphFile) -> tuple[Tensor, list[str], dict[str, Tensor]]:
    """Edges as they are written, names of the nodes, and what stands beside each edge."""
    edge_index = data.edge_index.cpu()
    chosen = _listed(edge_index, source)
    names = node_names(data, source)
    columns = {}
    for key, column in (("edge_weight", "weight"), ("edge_type", "edge_type")):
        value = data.get(key)
        if isinstance(value, Tensor) and value.numel() == edge_index.size(1):
            columns[column] = value.detach().cpu().reshape(-1)[chosen]
    return edge_index[:, chosen], names, columns


def node_names(data: Any, source: GraphFile) -> list[str]:
    """Names of the nodes as the file has them, and new ones for those that were added."""
    names = list(source.names or map(str, range(int(data.num_nodes))))
    taken = set(names)
    for number in range(int(data.num_nodes) - len(names)):
        new = "virtual" if not all(name.lstrip("-").isdigit() for name in names) else str(max(map(int, names)) + 1)
        while new in taken:
            new = f"virtual{number + len(taken)}"
        names.append(new)
        taken.add(new)
    return names


def _listed(edge_index: Tensor, source: GraphFile) -> Tensor:
    """Marks the columns that are written: all of them, or one direction of each edge."""
    return edge_index[0] <= edge_index[1] if source.once else torch.ones_like(edge_index[0], dtype=torch.bool)


def _text_bytes(data: Any, source: GraphFile, delimiter: str) -> bytes:
    return edge_list_text(*_lines(data, source), delimiter=delimiter)


def _read_npz(path: Path) -> GraphFile:
    import scipy.sparse

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        if "format" in arrays:
            matrix = scipy.sparse.load_npz(path).tocoo()
            if matrix.shape[0] != matrix.shape[1]:
                raise DataError(f"{path}: an adjacency matrix must be square, got {matrix.shape}")
            edge_index = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
            data = Data(edge_index=edge_index, num_nodes=matrix.shape[0])
            if not (matrix.data == 1).all():
                data.edge_weight = torch.from_numpy(matrix.data.astype(np.float64))
            return GraphFile([data], sparse=True)
        names = arrays.pop(NAMES, None)
        tensors = {key: torch.from_numpy(value) for key, value in arrays.items() if key != "num_nodes"}
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is damaged, or holds more than arrays of numbers: {error}") from error
    edge_index = tensors.get("edge_index")
    if edge_index is None or edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.is_floating_point():
        raise DataError(f"{path} must hold integers edge_index [2, E] (and num_nodes), or a SciPy sparse matrix")
    data = Data(**{**tensors, "edge_index": edge_index.long()})
    if "num_nodes" in arrays:
        data.num_nodes = int(arrays["num_nodes"])
    elif "x" not in tensors:
        raise DataError(f"{path} does not tell the number of nodes; add num_nodes to the archive")
    return GraphFile([data], names=_names_of(data, None if names is None else names.tolist()))


def _npz_bytes(data: Any, source: GraphFile) -> bytes:
    import scipy.sparse

    out = io.BytesIO()
    edge_index = data.edge_index.cpu()
    keep = _listed(edge_index, source)
    if source.sparse:
        weight = data.get("edge_weight")
        values = torch.ones(edge_index.size(1)) if weight is None else weight.detach().cpu().double()
        shape = (int(data.num_nodes),) * 2
        matrix = scipy.sparse.coo_array((values[keep].numpy(), tuple(edge_index[:, keep].numpy())), shape=shape)
        scipy.sparse.save_npz(out, matrix.tocsr())
        return out.getvalue()
    attributes = edge_attributes(data)
    arrays: dict[str, Any] = {"num_nodes": np.int64(data.num_nodes)}
    if source.names is not None:
        arrays[NAMES] = np.array(node_names(data, source), dtype=np.str_)
    for key, value in data.to_dict().items():
        if isinstance(value, Tensor):
            rows = value.detach().cpu()
            rows = rows[:, keep] if key == "edge_index" else rows[keep] if key in attributes else rows
            arrays[key] = (rows.float() if rows.dtype is torch.bfloat16 else rows).numpy()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _networkx() -> Any:
    return require("networkx", "NetworkX", "GraphML", "networkx")


def _read_graphml(path: Path) -> GraphFile:
    networkx = _networkx()
    try:
        graph = networkx.read_graphml(path)
    except Exception as error:  # its parser raises anything
        raise DataError(f"{path} is not a GraphML file that NetworkX reads: {error}") from error
    names = [str(node) for node in graph.nodes]
    place = {node: index for index, node in enumerate(graph.nodes)}
    edges = list(graph.edges(data=True))
    ends = torch.tensor([[place[u], place[v]] for u, v, _ in edges], dtype=torch.int64).reshape(-1, 2).T
    data = Data(edge_index=ends.contiguous(), num_nodes=len(names))
    weights = [values.get("weight") for _, _, values in edges]
    if any(weight is not None for weight in weights):
        if not all(isinstance(weight, (int, float)) for weight in weights):
            raise DataError(f"{path}: every edge must have a number as weight, or none")
        data.edge_weight = torch.tensor(weights, dtype=torch.float64)
    return GraphFile([data], names=names, networkx=graph)


def _graphml_bytes(data: Any, source: GraphFile) -> bytes:
    networkx = _networkx()
    once = GraphFile([], names=source.names, once=source.once or not _is_directed(source))
    pairs, names, columns = _lines(data, once)
    before = source.networkx
    out = networkx.Graph() if once.once else networkx.DiGraph()
    for name in names:
        out.add_node(name, **(before.nodes[name] if before is not None and name in before.nodes else {}))
    values = list(zip(*(column.tolist() for column in columns.values()), strict=True)) or [()] * pairs.size(1)
    for (u, v), row in zip(pairs.T.tolist(), values, strict=True):
        out.add_edge(names[u], names[v], **_edge_of(before, names[u], names[v]))
        out.edges[names[u], names[v]].update(zip(columns, row, strict=True))
    stream = io.BytesIO()
    networkx.write_graphml(out, stream)
    return stream.getvalue()


def _is_directed(source: GraphFile) -> bool:
    return source.networkx is not None and source.networkx.is_directed()


def _edge_of(graph: Any, u: str, v: str) -> dict[str, Any]:
    """Attributes of an edge that was there before, in either direction."""
    for pair in ((u, v), (v, u)):
        if graph is not None and graph.has_edge(*pair):
            found = graph.get_edge_data(*pair)
            return dict(next(iter(found.values())) if graph.is_multigraph() else found)
    return {}


def _read_pt(path: Path) -> GraphFile:
    try:
        # Of classes, only those that torch and PyTorch Geometric have declared safe are made, and those that a Data is
        # made of. What torch has to say about protocols is no concern of who runs a command.
        with torch.serialization.safe_globals(_OF_DATA), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = next((line for line in str(error).splitlines() if "rror:" in line), str(error))
        reason = reason.strip().split(". Please")[0]
        raise DataError(f"{path} is damaged, or names something other than tensors and graphs: {reason}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is damaged or no file of torch: {str(error).splitlines()[0]}") from error
    if isinstance(content, Data) and not isinstance(content, Batch):
        return GraphFile([_checked(content, path)], names=_names_of(content, content.get(NAMES)))
    if isinstance(content, list) and all(isinstance(item, Data) and not isinstance(item, Batch) for item in content):
        return GraphFile([_checked(item, path) for item in content], kind="list")
    if isinstance(content, tuple) and len(content) in (2, 3):
        return GraphFile([_checked(item, path) for item in _separated(content, path)], kind="dataset")
    raise DataError(
        f"{path} must hold a Data, a list of Data, or what InMemoryDataset.save writes, got a {type(content).__name__}"
    )


def _names_of(data: Any, names: Any) -> list[str] | None:
    """What a file says of the names of nodes, if that is one text for each."""
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if texts and len(names) == len(set(names)) == data.num_nodes else None


def _checked(data: Any, path: Path) -> Any:
    edge_index = data.edge_index
    if not isinstance(edge_index, Tensor) or edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise DataError(f"{path}: a graph has no edge_index [2, E]")
    return data


def _separated(content: tuple[Any, ...], path: Path) -> list[Any]:
    packed, slices = content[:2]
    kind = content[2] if len(content) == 3 else Data
    try:
        data = kind.from_dict(packed) if isinstance(packed, dict) else packed
        if slices is None:
            return [data]
        count = len(slices["edge_index"]) - 1
        return [separate(type(data), data, number, slices, decrement=False) for number in range(count)]
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise DataError(f"{path} is no dataset that InMemoryDataset.save has written: {error}") from error


def _pt_bytes(results: Sequence[Any], kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "dataset":
        data, slices = InMemoryDataset.collate(list(results))
        torch.save((data.to_dict(), slices, type(data)), out)
    else:
        torch.save(results[0] if kind == "one" else list(results), out)
    return out.getvalue()
