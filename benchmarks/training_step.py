"""One training step of the Peptides-func GCN, against the same model in PyTorch Geometric, with equal weights.

The graphs are the first 200 training graphs of Peptides-func, from the folder that GNNKIT_DATA names.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric.nn import GCNConv, global_mean_pool
from torch_geometric.utils import to_torch_csr_tensor

from benchmarks.measure import interleaved, ratio, report
from gnnkit.data import ATOM_FEATURE_DIMS
from gnnkit.errors import DataError
from gnnkit.experiment.build import Dataset, build_dataset
from gnnkit.experiment.config import load_config
from gnnkit.nn import GraphModel, ModelConfig

CONFIG = Path(__file__).parent / "tables/peptides-func/gcn.toml"
BATCH, REPEATS = 200, 15


class PygModel(torch.nn.Module):
    """The same stack from PyTorch Geometric's layers, with the weights of ours."""

    def __init__(self, ours: GraphModel) -> None:
        """Copies every weight."""
        super().__init__()
        width, hidden, self.p = ours.config.node_dim, ours.config.hidden_dim, ours.config.dropout
        self.atoms = torch.nn.ModuleList(torch.nn.Embedding(size, width) for size in ATOM_FEATURE_DIMS)
        self.raw_norm = torch.nn.BatchNorm1d(20)
        self.walk = torch.nn.Linear(20, 28)
        self.convs = torch.nn.ModuleList(GCNConv(hidden, hidden) for _ in range(ours.config.num_layers))
        self.head = torch.nn.ModuleList(torch.nn.Linear(hidden, size) for size in (hidden, hidden, 10))
        state = ours.state_dict()

        def part(prefix: str) -> dict[str, Tensor]:
            return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}

        (table,) = part("node_encoder.").values()
        for embedding, rows in zip(self.atoms, table.split(list(ATOM_FEATURE_DIMS)), strict=True):
            embedding.load_state_dict({"weight": rows})
        self.raw_norm.load_state_dict(part("encodings.0.norm."))
        self.walk.load_state_dict(part("encodings.0.linear."))
        for index, conv in enumerate(self.convs):
            conv.load_state_dict(part(f"layers.{index}.conv."))
        for index, linear in enumerate(self.head):
            linear.load_state_dict(part(f"head.linears.{index}."))

    def forward(self, batch: Any, adjacency: Tensor) -> Tensor:
        """Logits, ``[G, 10]``; ``adjacency`` is an edge_index or a transposed CSR matrix."""
        atoms = torch.zeros(())
        for column, embedding in enumerate(self.atoms):
            atoms = atoms + embedding(batch.x[:, column])
        x = torch.cat([atoms, self.walk(self.raw_norm(batch.random_walk_pe))], dim=-1)
        for conv in self.convs:
            x = x + functional.dropout(functional.gelu(conv(x, adjacency)), self.p, self.training)
        x = global_mean_pool(x, batch.batch, batch.num_graphs)
        first, second, last = self.head
        for linear in (first, second):
            x = functional.gelu(linear(functional.dropout(x, self.p, self.training)))
        return last(functional.dropout(x, self.p, self.training))


def training_step(model: torch.nn.Module, predict: Callable[[], Tensor], labels: Tensor) -> Callable[[], float]:
    """One step as the trainer makes it: loss, gradients, clipping, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.binary_cross_entropy_with_logits(predict(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    config = load_config(CONFIG)
    try:
        dataset = cast(Dataset, build_dataset(config))
    except DataError as error:
        raise SystemExit(f"this benchmark measures on the real graphs: {error}") from error
    batch = dataset.batch(dataset.split["train"][:BATCH])
    assert isinstance(config.model, ModelConfig)
    ours = GraphModel(config.model, num_outputs=10)
    peers = {"edge_index": batch.edge_index, "CSR": _transposed_csr(batch)}
    models: dict[str, torch.nn.Module] = {"gnnkit": ours}
    predictions: dict[str, Callable[[], Tensor]] = {"gnnkit": lambda: ours(batch)}
    for name, adjacency in peers.items():
        model = PygModel(ours)
        models[f"PyG, {name}"] = model
        predictions[f"PyG, {name}"] = lambda model=model, adjacency=adjacency: model(batch, adjacency)
    losses = _losses_without_dropout(models, predictions, batch.y)
    steps = {name: training_step(model.train(), predictions[name], batch.y) for name, model in models.items()}
    times = interleaved(steps, REPEATS)
    report(
        "training_step",
        {
            "title": f"training step, GCN 6 x 235, batch {BATCH}, dropout {config.model.dropout}, float32",
            "graphs": "the first 200 training graphs of Peptides-func",
            "nodes": batch.num_nodes,
            "edges": batch.num_edges,
            "losses_without_dropout": losses,
            "times": times,
            "ratios": {f"PyG, {name} / gnnkit": ratio(times, f"PyG, {name}", "gnnkit") for name in peers},
        },
    )


def _transposed_csr(batch: Any) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its CSR support a beta
        return to_torch_csr_tensor(batch.edge_index, size=(batch.num_nodes, batch.num_nodes)).t().to_sparse_csr()


def _losses_without_dropout(
    models: dict[str, torch.nn.Module], predictions: dict[str, Callable[[], Tensor]], labels: Tensor
) -> dict[str, float]:
    """Losses with batch statistics, as in the step that is timed, but nothing dropped."""
    losses = {}
    for name, model in models.items():
        model.eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.train()
        losses[name] = functional.binary_cross_entropy_with_logits(predictions[name](), labels).item()
    spread = max(losses.values()) - min(losses.values())
    if spread > 1e-5:
        raise SystemExit(f"the models disagree by {spread:.1e}: nothing is timed. {losses}")
    return losses


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    main()
