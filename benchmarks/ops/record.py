"""The file of results: one cell per line, so that it is small and two versions can be compared."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.measure import MEMORY_METHOD, environment
from benchmarks.ops.entry import OURS
from benchmarks.ops.peers import FoundPeer

# Sizes between which the time per edge is compared.
SIZES = (100_000, 1_000_000, 4_000_000, 10_000_000)
Record = dict[str, Any]


def whole(
    records: Sequence[Record], found: Mapping[str, FoundPeer], settings: str, titles: Mapping[str, str]
) -> Record:
    """All that a run has found out."""
    return {
        "kind": "ops",
        "environment": environment(),
        "peers": {name: peer.version or f"absent: {peer.absent}" for name, peer in found.items()},
        "settings": settings,
        "memory": MEMORY_METHOD,
        "titles": {name: title for name, title in titles.items() if any(each["op"] == name for each in records)},
        "linearity": linearity(records),
        "cells": list(records),
    }


def linearity(records: Iterable[Record]) -> list[Record]:
    """Nanoseconds per edge of gnnkit along the curve, and how they grow out of cache, from 4 10^6 edges to 10^7."""
    lines: dict[tuple[str, str, int], dict[int, float]] = {}
    for record in records:
        if record["graph"] == "power-law" and record["edges"] in SIZES and "times" in record:
            line = lines.setdefault((record["op"], record["pass"], record["width"]), {})
            line[record["edges"]] = 1e6 * record["times"][OURS]["median_ms"] / record["edges"]
    return [
        {
            "op": op,
            "pass": chosen,
            "width": width,
            "ns_per_edge": {str(edges): round(line[edges], 3) for edges in SIZES if edges in line},
            "growth": round(line[SIZES[-1]] / line[SIZES[-2]], 2) if SIZES[-1] in line and SIZES[-2] in line else None,
        }
        for (op, chosen, width), line in lines.items()
        if len(line) > 1
    ]


def dump(content: Record) -> str:
    """JSON whose lists have one element per line."""
    lines = ["{"]
    for position, (key, value) in enumerate(content.items()):
        comma = "," if position < len(content) - 1 else ""
        if isinstance(value, list) and value:
            rows = ",\n".join(f"    {_compact(each)}" for each in value)
            lines.append(f'  "{key}": [\n{rows}\n  ]{comma}')
        elif isinstance(value, dict) and value:
            rows = ",\n".join(f"    {json.dumps(name)}: {_compact(each)}" for name, each in value.items())
            lines.append(f'  "{key}": {{\n{rows}\n  }}{comma}')
        else:
            lines.append(f'  "{key}": {_compact(value)}{comma}')
    return "\n".join([*lines, "}"]) + "\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def line(record: Record) -> str:
    """One record for the screen."""
    where = f"{record['graph']}, {record['edges']:,} edges, width {record['width']}"
    lines = [f"{record['op']}, {record['pass']}   ({where})"]
    if "failure" in record:
        return "\n".join([*lines, f"  FAILED: {record['failure']}"])
    for name, times in record["times"].items():
        spread = f"[{times['quartile_low_ms']:.2f}, {times['quartile_high_ms']:.2f}]"
        memory = "" if times["extra_mb"] is None else f"{times['extra_mb']:10.1f} MB"
        lines.append(f"  {name:36s} {times['median_ms']:10.3f} ms   {spread:22s} {memory}")
    lines += [f"  {name:36s} {reason}" for name, reason in record.get("left_out", {}).items()]
    return "\n".join(lines)
