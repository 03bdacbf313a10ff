"""How things are timed here: in one process, in turns, after warm-up; medians with quartiles, never a best case."""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import gnnkit
from gnnkit.experiment.environment import release_memory, restart_peak_memory

RESULTS = Path(__file__).parent / "results"
MEMORY_METHOD = (
    "the kernel's high-water mark of resident memory during one warm call (temporaries, results, gradients), above "
    "what was resident before it, freed memory having been returned to the system"
)


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
            times[name].append(milliseconds(run))
    return {name: summary(values) for name, values in times.items()}


def within_budget(
    candidates: Mapping[str, Callable[[], float]], *, seconds: float, at_least: int = 5, at_most: int = 50
) -> dict[str, list[float]]:
    """Rounds in which every candidate has a turn, until its time is spent; a slow one leaves while others go on.

    Args:
        candidates: What gives the milliseconds of one more run, by name.
        seconds: How long a candidate may take in all, once it has run ``at_least`` times.
        at_least: Repeats that every candidate gets.
        at_most: Repeats after which it is enough.

    Returns:
        All times in milliseconds, by candidate.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(at_most):
        waiting = [name for name, past in times.items() if len(past) < at_least or sum(past) < 1e3 * seconds]
        for name in waiting:
            times[name].append(candidates[name]())
    return times


def milliseconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    result = run()
    taken = 1e3 * (time.perf_counter() - start)
    del result  # to free it is not part of the call
    return taken


def summary(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median_ms": round(middle, 3), "quartile_low_ms": round(low, 3), "quartile_high_ms": round(high, 3)}


def ratio(times: dict[str, dict[str, float]], peer: str, ours: str) -> float:
    """How many times longer the peer takes, by medians."""
    return round(times[peer]["median_ms"] / times[ours]["median_ms"], 2)


def extra_memory(run: Callable[[], object]) -> float | None:
    """How far resident memory rises above what it was before the call, in MB; None where the system cannot say.

    Linux keeps the high-water mark itself, so that nothing is missed between two samples; and freed memory is returned
    to the system first, so that the call cannot hide in what an earlier one has left behind. It sees native temporaries
    as well as tensors. What is computed once and cached is not counted, if ``run`` has been called before.
    """
    if not (release_memory() and restart_peak_memory()):
        return None
    before = _resident("VmRSS")
    result = run()
    peak = _resident("VmHWM")
    del result
    return round(max(peak - before, 0) / 1e6, 1)


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def environment() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "packages": {name: _version(name) for name in ("numpy", "scipy", "torch-geometric")},
        "gnnkit": gnnkit.__version__,
        "libraries": {name: state["loaded"] for name, state in gnnkit.backend_info().items()},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def commit() -> str | None:
    """The checked-out commit, marked where tracked files differ from it; None outside of a repository."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout

    try:
        found = git("rev-parse", "--short=12", "HEAD").strip()
        # Results are what a benchmark writes: they do not make it another program.
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)benchmarks/results")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{found} with changes" if changed.strip() else found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def report(name: str, result: dict[str, Any]) -> None:
    """Writes ``results/speed/<name>.json`` and prints it as a table."""
    whole = {"environment": environment(), **result}
    write_text(RESULTS / "speed" / f"{name}.json", json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    print(f"\n{result['title']}")
    for candidate, times in result["times"].items():
        spread = f"[{times['quartile_low_ms']:.2f}, {times['quartile_high_ms']:.2f}]"
        print(f"  {candidate:64s} {times['median_ms']:10.2f} ms   {spread}")
    for label, value in result["ratios"].items():
        print(f"  {label:64s} {value:10.2f} x")


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
