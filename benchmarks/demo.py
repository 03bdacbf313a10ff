"""Over-squashing, shown in three minutes: three models on RingTransfer, for growing rings.

The root of a ring must tell what the node opposite carries. A GCN has as many layers as the way is long, and yet the
signal is squashed on the way; gates keep it for a while; edges to all nodes within half a ring let it through.
"""

import dataclasses
import logging
import sys
import time
from pathlib import Path

import torch

from gnnkit.data import load
from gnnkit.experiment import ExperimentConfig, TransformConfig, load_config, train

TABLES = Path(__file__).parent / "tables/ring-transfer"
OUT = Path("runs/demo")
RING_SIZES = (6, 8, 10, 14, 20)
MODELS = {"GCN": "gcn", "GatedGCN": "gatedgcn", "GCN on the k-hop graph": "gcn-k-hop"}


def ring_config(name: str, ring_size: int) -> ExperimentConfig:
    """The committed configuration for another ring: the distance is half of it, and so are depth or hops."""
    config = load_config(TABLES / f"{name}.toml")
    distance = ring_size // 2
    data = dataclasses.replace(config.data, options=config.data.options | {"ring_size": ring_size})
    model = config.model
    if data.transforms:
        data = dataclasses.replace(data, transforms=(TransformConfig("k_hop", {"k": distance}),))
    else:
        model = dataclasses.replace(model, num_layers=distance)
    return dataclasses.replace(config, data=data, model=model)


def accuracies() -> dict[str, list[float]]:
    """Test accuracy of each model for each ring size."""
    results: dict[str, list[float]] = {name: [] for name in MODELS}
    for ring_size in RING_SIZES:
        for label, name in MODELS.items():
            start = time.perf_counter()
            folder = OUT / f"{name}-ring-{ring_size}"
            record = train(ring_config(name, ring_size), folder, restart=True, progress=False)
            accuracy = record["final"]["test"]
            results[label].append(accuracy)
            seconds = time.perf_counter() - start
            print(f"ring of {ring_size:2d}   {label:24s} accuracy {accuracy:.2f}   {seconds:5.1f} s", flush=True)
    return results


def table(results: dict[str, list[float]]) -> str:
    """The results as Markdown."""
    lines = ["| ring size | " + " | ".join(map(str, RING_SIZES)) + " |", "|---" * (len(RING_SIZES) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{value:.2f}" for value in row) + " |" for name, row in results.items()]
    return "\n".join(lines)


def plot(results: dict[str, list[float]], path: Path) -> None:
    """Accuracy against ring size, with the level of guessing."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for marker, (name, row) in zip("osD", results.items(), strict=True):
        axes.plot(RING_SIZES, row, marker=marker, label=name)
    axes.axhline(0.2, color="grey", linestyle=":", label="guessing (5 classes)")
    axes.set(xlabel="ring size (the answer is half as many hops away)", ylabel="test accuracy", ylim=(0, 1.05))
    axes.set_title("RingTransfer: over-squashing, and edges that avoid it")
    axes.legend(loc="center right", fontsize="small")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    start = time.perf_counter()
    load("ring-transfer", progress=False)  # fails early where something is wrong with the installation
    results = accuracies()
    path = OUT / "ring-transfer.png"
    plot(results, path)
    print(f"\n{table(results)}\n")
    print(f"Plot: {path}   ({time.perf_counter() - start:.0f} s on {torch.get_num_threads()} threads)")
    print(
        "The real benchmark: GNNKIT_DATA=folder .venv/bin/gnnkit run benchmarks/tables/peptides-func/gcn.toml "
        "(see `gnnkit data get peptides-func`)"
    )


if __name__ == "__main__":
    sys.exit(main())
