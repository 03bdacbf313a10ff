"""How things are timed here: in one process, in turns, after warm-up; medians with quartiles, never a best case."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import gnnkit

RESULTS = Path(__file__).parent / "results"


def interleaved(
    candidates: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 2
) -> dict[str, dict[str, float]]:
    """Times every candidate once per round, so that a slow spell of the machine meets them all alike.

    Returns:
        Median and quartiles in milliseconds, by candidate.
    """
    for _ in range(warmup):
        for run in candidates.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: _summary(values) for name, values in times.items()}


def _summary(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median_ms": round(middle, 3), "quartile_low_ms": round(low, 3), "quartile_high_ms": round(high, 3)}


def ratio(times: dict[str, dict[str, float]], peer: str, ours: str) -> float:
    """How many times longer the peer takes, by medians."""
    return round(times[peer]["median_ms"] / times[ours]["median_ms"], 2)


def environment() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gnnkit": gnnkit.__version__,
        "libraries": {name: state["loaded"] for name, state in gnnkit.backend_info().items()},
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def report(name: str, result: dict[str, Any]) -> None:
    """Writes ``results/speed/<name>.json`` and prints it as a table."""
    folder = RESULTS / "speed"
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"environment": environment(), **result}
    partial = folder / f".{name}.json.partial"
    partial.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    partial.replace(folder / f"{name}.json")
    print(f"\n{result['title']}")
    for candidate, times in result["times"].items():
        spread = f"[{times['quartile_low_ms']:.2f}, {times['quartile_high_ms']:.2f}]"
        print(f"  {candidate:64s} {times['median_ms']:10.2f} ms   {spread}")
    for label, value in result["ratios"].items():
        print(f"  {label:64s} {value:10.2f} x")
