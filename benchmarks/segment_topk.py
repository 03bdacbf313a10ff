"""The largest scores of every graph of a batch, against the sorts of PyTorch Geometric's pooling."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.nn.pool.select.topk import topk

from benchmarks.measure import extra_memory, interleaved, ratio, report
from gnnkit import ops

EDGES, GRAPHS, RATIO = 1_000_000, 10_000, 0.9


def made() -> tuple[Tensor, Tensor]:
    """Scores, and boundaries of graphs of uniformly drawn sizes."""
    cuts = torch.randint(0, EDGES + 1, (GRAPHS - 1,)).sort().values
    return torch.randn(EDGES).tanh(), torch.cat([torch.tensor([0]), cuts, torch.tensor([EDGES])])


def main() -> None:
    score, ptr = made()
    batch = torch.arange(GRAPHS).repeat_interleave(ptr.diff())
    candidates: dict[str, Callable[[], Tensor]] = {
        "gnnkit segment_topk": lambda: ops.segment_topk(score, ptr, ratio=RATIO)[1],
        "PyG topk": lambda: topk(score, RATIO, batch),
    }
    ours, theirs = (run() for run in candidates.values())
    # PyG rounds the product of ratio and size in float32, and so may keep one more.
    expected = torch.bincount(batch[theirs], minlength=GRAPHS) - torch.bincount(batch[ours], minlength=GRAPHS)
    if not bool(torch.isin(ours, theirs).all()) or not 0 <= int(expected.min()) <= int(expected.max()) <= 1:
        raise SystemExit("the two keep different rows: nothing is timed")
    times = interleaved(candidates, 9)
    report(
        "segment-topk",
        {
            "title": f"{RATIO:.0%} of {EDGES:,} scores in {GRAPHS:,} graphs",
            "times": times,
            "ratios": {"PyG topk / gnnkit": ratio(times, "PyG topk", "gnnkit segment_topk")},
            "extra_resident_memory_mb": {name: extra_memory(run) for name, run in candidates.items()},
        },
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
