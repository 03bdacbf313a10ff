"""One layer of dynamically rewired message passing with delay."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from gnnkit import ops
from gnnkit.errors import ConfigError, ShapeError
from gnnkit.graph import Graph
from gnnkit.nn._inputs import node_features
from gnnkit.nn.batch_norm import BatchNorm
from gnnkit.nn.conv.gcn import Normalization
from gnnkit.nn.epilogue import Activation, epilogue
from gnnkit.nn.hops import as_hops
from gnnkit.ops._checks import check_count

Body = Literal["gcn", "gin", "gatedgcn"]
HopNorm = Literal["none", "batch", "batch_per_hop"]

_BODIES = ("gcn", "gin", "gatedgcn")
_NORMS = ("none", "batch", "batch_per_hop")
_ACTIVATIONS = ("relu", "gelu", "silu", "none")


class DRewConv(torch.nn.Module):
    r"""Layer of DRew (Gutteridge et al., "DRew: dynamically rewired message passing with delay", 2023).

    .. math::
        h_i^{t+1} = h_i^t + \phi\Bigl(\sum_{k=1}^{K} f_k\bigl(\{h_j^{t - \tau(k)} : d(j, i) = k\}\bigr) + b\Bigr),
        \qquad \tau(k) = \max(0, k - \nu)

    over the nodes ``j`` at distance exactly ``k``. Layer ``t`` (from 0) of the model looks :math:`K = t + 1` hops far.
    With delay :math:`\nu = 1` the state of a node ``k`` hops away is as old as if it had travelled along the edges;
    with :math:`\nu = \infty` none is old. The bodies, with maps :math:`W` of their own for each hop:

    - ``"gcn"``: :math:`f_k = W_k \sum_j h_j / \sqrt{d_j d_i}`, degrees counted among the pairs of that distance.
    - ``"gin"``: :math:`\sum_k f_k = (1 + \epsilon)\,M_0(h_i^t) + \sum_k M_k\bigl(\sum_j h_j\bigr)` with :math:`M` an
      affine map, normalisation with ``"batch_per_hop"``, activation. There is no further :math:`\phi` around the sum.
    - ``"gatedgcn"``: :math:`\sum_k f_k = A h_i^t + \sum_k \sum_j \eta_{ij} \odot B_k h_j`, gates
      :math:`\eta_{ij} = \sigma_{ij} / (\sum_j \sigma_{ij} + 10^{-6})` over one hop and
      :math:`\sigma_{ij} = \mathrm{sigmoid}(D_k h_i^t + E_k h_j)`. The destination's part of a gate is never old: our
      reading, since the paper delays what is sent.

    The formula is the paper's. The authors' code differs for ``"gcn"``: self-loops in the graph of every hop
    (``add_self_loops=True``), batch normalisation and activation of each hop before the sum besides the activation
    after it (``norm="batch_per_hop"``), and rows scaled to length 1 after the layer (``l2_normalize=True``). Its option
    of softmax weights over the hops is not offered. Edge features are not used, there or here.

    Args:
        channels: Width of input and output.
        num_hops: :math:`K`, at least 1.
        body: :math:`f`: ``"gcn"``, ``"gin"`` or ``"gatedgcn"``.
        delay: :math:`\nu`, an integer of at least 1, or ``math.inf``.
        activation: :math:`\phi`: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"none"``.
        norm: ``"batch"``: batch normalisation of the sum, before the activation; ``"batch_per_hop"``: of each hop's
            term, followed by the activation, before the sum; ``"none"``.
        residual: Add :math:`h_i^t`.
        l2_normalize: Scale the rows of the result to length 1.
        share_weights: One map for all hops in place of one for each (the weight-sharing variant of the paper).
        add_self_loops: Self-loops in the graph of each hop; ``"gcn"`` only.
        dropout: Probability of dropping an entry before the residual is added.

    Raises:
        ConfigError: If a setting is not one of those above.

    Determinism: bitwise, forward and backward, for a given state of torch's global generator.
    Complexity: ``O(K N F^2 + E' F)`` time for :math:`E'` pairs within ``K`` hops and ``O(K N F)`` memory, no message
    per pair; ``"gatedgcn"`` keeps the states of the gates, ``O(E' F)``. Where a hop beyond the diameter adds nothing
    (no ``"gin"``, self-loops or ``"batch_per_hop"``) it costs nothing, and its maps get no gradient rather than zeros.
    """

    def __init__(
        self,
        channels: int,
        num_hops: int,
        *,
        body: Body = "gcn",
        delay: float = 1,
        activation: Activation = "relu",
        norm: HopNorm = "none",
        residual: bool = True,
        l2_normalize: bool = False,
        share_weights: bool = False,
        add_self_loops: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_settings(num_hops, body, activation, norm, add_self_loops, dropout)
        self.channels = channels
        self.num_hops = num_hops
        self.body: Body = body
        self.delay = checked_delay(delay)
        self.activation: Activation = activation
        self.norm: HopNorm = norm
        self.residual = residual
        self.l2_normalize = l2_normalize
        self.share_weights = share_weights
        self.add_self_loops = add_self_loops
        self.dropout = dropout
        maps = 1 if share_weights else num_hops
        self.hop_maps = _maps(channels, maps, bias=body == "gin")
        if body == "gin":
            self.self_map = torch.nn.Linear(channels, channels)
            self.eps = torch.nn.Parameter(torch.zeros(1))
        if body == "gatedgcn":
            self.self_map = torch.nn.Linear(channels, channels)
            self.gate_dst = _maps(channels, maps, bias=True)
            self.gate_src = _maps(channels, maps, bias=False)
        self.bias = torch.nn.Parameter(torch.zeros(channels)) if body == "gcn" else None
        terms = num_hops + (body == "gin")
        self.hop_norms = torch.nn.ModuleList(
            BatchNorm(channels) for _ in range(terms if norm == "batch_per_hop" else 0)
        )
        self.sum_norm = BatchNorm(channels) if norm == "batch" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new weights (Glorot uniform for the maps of the hops, bias 0) and forgets the running statistics."""
        for module in self.modules():
            if isinstance(module, torch.nn.Linear | BatchNorm):
                module.reset_parameters()
        for linear in self.hop_maps:
            torch.nn.init.xavier_uniform_(linear.weight)  # type: ignore[arg-type]
        if self.body == "gin":
            torch.nn.init.zeros_(self.eps)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def delayed(self, hop: int) -> int:
        r"""How many layers old the states ``hop`` hops away are, :math:`\tau(k)`."""
        return max(0, hop - int(self.delay)) if math.isfinite(self.delay) else 0

    def forward(self, history: Sequence[Tensor], graph: Graph | Sequence[Graph]) -> Tensor:
        r"""The next state.

        Args:
            history: States :math:`h^0, \dots, h^t` so far, each ``[N, channels]``.
            graph: The topology, whose hops are then computed once and kept with it; or the graphs of the hops, at least
                ``num_hops`` (:func:`gnnkit.nn.hop_graphs`).

        Returns:
            :math:`h^{t+1}`, ``[N, channels]``.

        Raises:
            ShapeError: If a state does not fit the graph, or the history is too short for ``num_hops`` and ``delay``.
        """
        hops = as_hops(graph, self.num_hops, layer="DRewConv")
        oldest = self.delayed(self.num_hops)
        if len(history) <= oldest:
            raise ShapeError(
                f"DRewConv of {self.num_hops} hops with delay {self.delay} looks {oldest} states back, so that the "
                f"history must hold {oldest + 1} or more, got {len(history)}"
            )
        states = [node_features(x, hops[0], layer="DRewConv", width=self.channels) for x in history[-1 - oldest :]]
        x = states[-1]
        out = self._own_term(x)
        for k, hop in enumerate(hops, start=1):
            if hop.num_edges == 0 and self._nothing_is_zero():
                continue
            term = self._after_hop(k, self._hop_term(k, hop, x, states[-1 - self.delayed(k)]))
            out = term if out is None else out + term
        out, bias = (torch.zeros_like(x), self.bias) if out is None else (out, self.bias)
        if self.sum_norm is not None:
            out, bias = self.sum_norm(out if bias is None else out + bias), None
        activation = "none" if self.body == "gin" else self.activation
        out = epilogue(out, bias, x if self.residual else None, self.dropout, activation, self.training)
        return torch.nn.functional.normalize(out, dim=-1) if self.l2_normalize else out

    def _nothing_is_zero(self) -> bool:
        """Whether a hop without pairs adds nothing: then a pass over the nodes is spared beyond the diameter.

        Elsewhere it must be taken, since what a graph gets may not depend on the diameter of others in its batch.
        """
        return self.body != "gin" and not self.add_self_loops and len(self.hop_norms) == 0

    def _own_term(self, x: Tensor) -> Tensor | None:
        if self.body == "gin":
            return (1 + self.eps) * self._after_hop(0, self.self_map(x))
        return self.self_map(x) if self.body == "gatedgcn" else None

    def _hop_term(self, k: int, hop: Graph, x: Tensor, sent: Tensor) -> Tensor:
        index = 0 if self.share_weights else k - 1
        linear = self.hop_maps[index]
        if self.body == "gcn":
            mapped = linear(sent)
            return Normalization.of(hop, self.add_self_loops, mapped.dtype).propagate(mapped)
        if self.body == "gin":
            return linear(ops.spmm(hop, sent))
        gate_dst, gate_src = self.gate_dst[index](x), self.gate_src[index](sent)
        return ops.gated_aggregate(hop, gate_dst, gate_src, linear(sent))[0]

    def _after_hop(self, k: int, term: Tensor) -> Tensor:
        """What is done to the term of a hop (0: of the node itself) before the sum."""
        if len(self.hop_norms) > 0:
            index = k if self.body == "gin" else k - 1
            term = self.hop_norms[index](term)
        elif self.body != "gin":
            return term
        return epilogue(term, None, None, 0.0, self.activation, self.training)

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"{self.channels}, {self.num_hops}, body={self.body!r}, delay={self.delay}, "
            f"activation={self.activation!r}, norm={self.norm!r}, residual={self.residual}, "
            f"l2_normalize={self.l2_normalize}, share_weights={self.share_weights}, "
            f"add_self_loops={self.add_self_loops}, dropout={self.dropout}"
        )


def checked_delay(delay: object) -> float:
    """``delay`` itself; raises ConfigError where it is neither a positive integer nor infinity."""
    if isinstance(delay, int) and not isinstance(delay, bool) and delay >= 1:
        return delay
    if isinstance(delay, float) and delay == math.inf:
        return delay
    raise ConfigError(f"delay must be an integer of at least 1, or math.inf for none, got {delay!r}")


def _check_settings(num_hops: int, body: str, activation: str, norm: str, add_self_loops: bool, dropout: float) -> None:
    check_count("num_hops", num_hops, 1)
    for name, value, allowed in (
        ("body", body, _BODIES),
        ("norm", norm, _NORMS),
        ("activation", activation, _ACTIVATIONS),
    ):
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    if add_self_loops and body != "gcn":
        raise ConfigError(f"self-loops belong to body='gcn'; body={body!r} has a term of the node itself")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be a probability in [0, 1), got {dropout}")


def _maps(channels: int, count: int, *, bias: bool) -> torch.nn.ModuleList:
    return torch.nn.ModuleList(torch.nn.Linear(channels, channels, bias=bias) for _ in range(count))
