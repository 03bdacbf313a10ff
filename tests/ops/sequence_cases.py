"""The part of the table of operators on packed sequences: the edges of each destination of a sample are one."""

import numpy as np
import torch
from torch import Tensor

from gnnkit import ops
from tests.ops.op_case import ACTIVATIONS, Arrays, OpCase, Tensors
from tests.ops.samples import Sample


def scan_by(sample: Sample, a: Arrays, *, reverse: bool) -> np.ndarray:
    """Token by token, sequence by sequence."""
    rates = -np.square(a["rates"]) - 0.1
    delta = np.logaddexp(0, a["delta"] + a.get("bias", 0))
    out = np.zeros_like(a["u"])
    for sequence in range(sample.graph.num_dst):
        state = a["initial"][sequence] if "initial" in a else np.zeros_like(rates)
        tokens = np.flatnonzero(sample.segment == sequence)
        for token in tokens[::-1] if reverse else tokens:
            entering = 0.25 * np.outer(delta[token] * a["u"][token], a["b"][token])
            state = np.exp(delta[token][:, None] * rates) * state + entering
            out[token] = state @ a["c"][token] + a.get("skip", 0) * a["u"][token]
    return out * a["z"] / (1 + np.exp(-a["z"])) if "z" in a else out


def _selective_scan(states: int, *, reverse: bool, plain: bool) -> OpCase:
    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        tokens, channels = sample.graph.num_edges, sample.width
        found = {"u": (tokens, channels), "delta": (tokens, channels), "rates": (channels, states)}
        found |= {"b": (tokens, states), "c": (tokens, states)}
        if not plain:
            found |= {"skip": (channels,), "z": (tokens, channels), "bias": (channels,)}
            found |= {"initial": (sample.graph.num_dst, channels, states)}
        return found

    def call(sample: Sample, t: Tensors) -> Tensor:
        # Rates below zero, as a model has them: other states grow without bounds. A quarter is exact in every dtype.
        rates = t["rates"].float() if t["rates"].dtype == torch.bfloat16 else t["rates"]
        rates = -rates.square() - 0.1
        options = {"delta_bias": t.get("bias"), "initial_state": t.get("initial")}
        found = ops.selective_scan(
            t["u"], t["delta"], rates, 0.25 * t["b"], t["c"], t.get("skip"), t.get("z"),
            offsets=sample.ptr, delta_softplus=True, reverse=reverse, **options,
        )  # fmt: skip
        return found if isinstance(found, Tensor) else found[0]

    name = f"selective_scan-{states}{'-reverse' if reverse else ''}{'-plain' if plain else ''}"
    oracle = lambda sample, a: scan_by(sample, a, reverse=reverse)  # noqa: E731
    return OpCase(name, call, shapes, oracle, twice_differentiable=False)


def _causal_conv1d(taps: int, activation: str, *, reverse: bool, bias: bool) -> OpCase:
    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        found = {"x": (sample.graph.num_edges, sample.width), "weight": (sample.width, taps)}
        return found | ({"bias": (sample.width,)} if bias else {})

    def call(sample: Sample, t: Tensors) -> Tensor:
        options = {"offsets": sample.ptr, "activation": activation, "reverse": reverse}
        return ops.causal_conv1d(t["x"], t["weight"], t.get("bias"), **options)

    def oracle(sample: Sample, a: Arrays) -> np.ndarray:
        out = np.zeros_like(a["x"]) + a.get("bias", 0)
        for sequence in range(sample.graph.num_dst):
            tokens = np.flatnonzero(sample.segment == sequence)
            own = a["x"][tokens[::-1] if reverse else tokens]
            for place, token in enumerate(tokens[::-1] if reverse else tokens):
                for back in range(min(taps, place + 1)):
                    out[token] += a["weight"][:, taps - 1 - back] * own[place - back]
        return ACTIVATIONS[activation](out)

    name = f"causal_conv1d-{taps}-{activation}{'-reverse' if reverse else ''}"
    return OpCase(name, call, shapes, oracle, twice_differentiable=False)


def attention_by(sample: Sample, a: Arrays, *, reverse: bool) -> np.ndarray:
    """State space duality as masked attention: a matrix of all pairs of tokens for each sequence and head."""
    heads, groups = a["x"].shape[1], a["b"].shape[1]
    steps = np.logaddexp(0, a["delta"] + a.get("bias", 0))
    exponents = steps * (-np.square(a["rates"]) - 0.1)
    out = np.zeros_like(a["x"])
    for sequence in range(sample.graph.num_dst):
        tokens = np.flatnonzero(sample.segment == sequence)
        tokens = tokens[::-1] if reverse else tokens
        seen = np.tri(len(tokens), dtype=bool)
        for head in range(heads):
            group = head * groups // heads
            b, c = 0.25 * a["b"][tokens, group], a["c"][tokens, group]
            passed = np.cumsum(exponents[tokens, head])
            between = np.exp(np.where(seen, passed[:, None] - passed, -np.inf))
            out[tokens, head] = (c @ b.T * between) @ (steps[tokens, head, None] * a["x"][tokens, head])
            if "initial" in a:
                out[tokens, head] += np.exp(passed)[:, None] * (c @ a["initial"][sequence, head].T)
    return out + a["skip"][:, None] * a["x"] if "skip" in a else out


def _ssd(groups: int, states: int, *, reverse: bool, narrow: bool = False) -> OpCase:
    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        tokens = sample.graph.num_edges
        heads, width = (sample.width, 3) if narrow else (2 * groups, sample.width)
        found = {"x": (tokens, heads, width), "delta": (tokens, heads), "rates": (heads,)}
        found |= {"b": (tokens, groups, states), "c": (tokens, groups, states)}
        if not narrow:
            found |= {"skip": (heads,), "bias": (heads,), "initial": (sample.graph.num_dst, heads, width, states)}
        return found

    def call(sample: Sample, t: Tensors) -> Tensor:
        rates = t["rates"].float() if t["rates"].dtype == torch.bfloat16 else t["rates"]
        options = {"delta_bias": t.get("bias"), "initial_state": t.get("initial")}
        found = ops.ssd(
            t["x"], t["delta"], -rates.square() - 0.1, 0.25 * t["b"], t["c"], t.get("skip"),
            offsets=sample.ptr, delta_softplus=True, reverse=reverse, chunk_size=8, **options,
        )  # fmt: skip
        return found if isinstance(found, Tensor) else found[0]

    name = f"ssd-{groups}-{states}{'-reverse' if reverse else ''}{'-narrow' if narrow else ''}"
    oracle = lambda sample, a: attention_by(sample, a, reverse=reverse)  # noqa: E731
    return OpCase(name, call, shapes, oracle, twice_differentiable=False)


def _gated_delta(steps: int, keys: int, *, reverse: bool, plain: bool) -> OpCase:
    heads = 2

    def shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
        tokens, values = sample.graph.num_edges, sample.width
        several = () if plain and steps == 1 else (steps,)
        found = {"q": (tokens, heads, keys), "k": (tokens, *several, heads, keys)}
        found |= {"v": (tokens, *several, heads, values), "beta": (tokens, *several, heads)}
        if not plain:
            found |= {"g": (tokens, heads), "initial": (sample.graph.num_dst, heads, keys, values)}
        return found

    # Steps that expand nothing, as a model takes them. Powers of two are exact in every dtype.
    shorter = 0.5 ** int(np.ceil(np.log2(2 * keys**0.5)))

    def call(sample: Sample, t: Tensors) -> Tensor:
        g = None if plain else -t["g"].abs()
        found = ops.gated_delta(
            t["q"], shorter * t["k"], t["v"], t["beta"].abs(), g,
            offsets=sample.ptr, scale=0.5, reverse=reverse, initial_state=t.get("initial"),
        )  # fmt: skip
        assert isinstance(found, Tensor)
        return found

    def oracle(sample: Sample, a: Arrays) -> np.ndarray:
        tokens = sample.graph.num_edges
        k, v = a["k"].reshape(tokens, steps, heads, keys), a["v"].reshape(tokens, steps, heads, sample.width)
        k, beta = shorter * k, np.abs(a["beta"]).reshape(tokens, steps, heads)
        decay = np.exp(-np.abs(a["g"])) if "g" in a else np.ones((tokens, heads))
        out = np.zeros((tokens, heads, sample.width))
        for sequence in range(sample.graph.num_dst):
            own = np.flatnonzero(sample.segment == sequence)
            state = a["initial"][sequence] if "initial" in a else np.zeros((heads, keys, sample.width))
            for token in own[::-1] if reverse else own:
                state = decay[token][:, None, None] * state
                for key, value, b in zip(k[token], v[token], beta[token], strict=True):
                    written = b[:, None, None] * key[:, :, None]
                    state = (np.eye(keys) - written * key[:, None, :]) @ state + written * value[:, None, :]
                out[token] = 0.5 * np.einsum("hkv,hk->hv", state, a["q"][token])
        return out

    name = f"gated_delta-{steps}-{keys}{'-reverse' if reverse else ''}{'-plain' if plain else ''}"
    return OpCase(name, call, shapes, oracle, twice_differentiable=False)


SEQUENCE_CASES = [
    _selective_scan(3, reverse=False, plain=False),
    _selective_scan(16, reverse=True, plain=False),
    _selective_scan(2, reverse=False, plain=True),
    _ssd(1, 17, reverse=False),
    _ssd(2, 3, reverse=True),
    _ssd(1, 5, reverse=False, narrow=True),
    _causal_conv1d(4, "silu", reverse=False, bias=True),
    _causal_conv1d(3, "none", reverse=True, bias=True),
    _causal_conv1d(1, "silu", reverse=True, bias=False),
    _gated_delta(1, 4, reverse=False, plain=True),
    _gated_delta(2, 3, reverse=True, plain=False),
    _gated_delta(3, 17, reverse=False, plain=False),
]
