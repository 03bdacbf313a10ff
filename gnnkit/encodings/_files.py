"""Encodings in files that are no graphs: tables of nodes, and tensors by name."""

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.compat.pyg import edge_attributes
from gnnkit.errors import DataError

TABLES = {".csv": ",", ".tsv": "\t"}


def new_attributes(before: Any, after: Any, attr_name: Any = None) -> list[str]:
    """Names of what an encoding has set, in order: all that is new or another object, and all called ``attr_name``."""
    given = before.to_dict()
    return [
        key
        for key, value in after.to_dict().items()
        if key not in given or given[key] is not value or (isinstance(attr_name, str) and _called(key, attr_name))
    ]


def _called(key: str, attr_name: str) -> bool:
    return key == attr_name or key.startswith(f"{attr_name}_")


def table_bytes(data: Any, attributes: Sequence[str], names: Sequence[str], *, delimiter: str, encoding: str) -> bytes:
    """A table with a line for each node: its name, and one column for each column of each attribute.

    Raises:
        DataError: If an attribute has no row for each node.
    """
    columns: list[np.ndarray] = [np.array(names, dtype=np.str_)]
    header = ["node"]
    for key in attributes:
        rows = _node_rows(data, key, encoding)
        header += [key + "".join(f"_{place}" for place in places) for places in np.ndindex(rows.shape[1:])]
        columns += list(rows.reshape(len(rows), math.prod(rows.shape[1:])).T)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    # As text, a float32 takes the digits that it has, and not those of a double.
    writer.writerows(zip(*(column.astype(np.str_).tolist() for column in columns), strict=True))
    return out.getvalue().encode()


def _node_rows(data: Any, key: str, encoding: str) -> np.ndarray:
    value, size = data[key], int(data.num_nodes)
    of_edges = key in edge_attributes(data) or key.startswith("edge_") or key.endswith("index")
    if not isinstance(value, Tensor) or value.dim() == 0 or value.size(0) != size or of_edges:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise DataError(
            f"a table has one line per node, but {encoding} writes {key} {shape} for {size} nodes, which belongs to "
            "edges or pairs; write a .pt, .npz or .safetensors file, or let it encode nodes alone"
        )
    rows = value.detach().cpu()
    rows = rows.to(torch.uint8) if rows.dtype is torch.bool else rows.float() if rows.dtype is torch.bfloat16 else rows
    return rows.numpy()


def safetensors_bytes(data: Any, names: Sequence[str] | None, encoding: str) -> bytes:
    """All tensors of a graph by name; the number and the names of the nodes and the encoding are in the header."""
    from safetensors.torch import save

    tensors = {
        # A copy, since safetensors refuses tensors that share memory.
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in data.to_dict().items()
        if isinstance(value, Tensor) and value.layout is torch.strided
    }
    header = {"encoding": encoding, "num_nodes": str(int(data.num_nodes))}
    if names is not None:
        header["node_names"] = json.dumps(list(names))
    return save(tensors, metadata=header)
