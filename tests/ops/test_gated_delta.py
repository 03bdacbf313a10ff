"""The gated delta rule against dense products of matrices, exact reflections, and groups that it composes."""

from itertools import pairwise, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from gnnkit import ops
from gnnkit.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from tests.ops.kernels import needs_kernels


def made(tokens: int, steps: int, *, heads: int = 2, keys: int = 5, values: int = 7, seed: int = 0, **kind) -> dict:
    """Random inputs with keys of length 1, strengths in (0, 2), and a decay."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = {
        "q": normal(tokens, heads, keys),
        "k": normalize(normal(tokens, steps, heads, keys), dim=-1),
        "v": normal(tokens, steps, heads, values),
        "beta": 2 * normal(tokens, steps, heads).sigmoid(),
        "g": -0.3 * normal(tokens, heads).abs(),
    }
    return {name: value.to(**kind) for name, value in inputs.items()}


def delta(inputs: dict, lengths: list[int], **options) -> Tensor:
    out = ops.gated_delta(**inputs, offsets=torch.tensor([0, *lengths]).cumsum(0), **options)
    assert isinstance(out, Tensor)
    return out


def part(inputs: dict, tokens: slice) -> dict:
    return {name: value[tokens] for name, value in inputs.items()}


def dense(q, k, v, beta, g, initial, *, reverse: bool, scale: float) -> tuple[Tensor, Tensor]:
    """One sequence: ``S_t = M_t S_{t-1} + N_t`` with whole matrices, each a product over the steps of a token."""
    rows, state, identity = {}, initial, torch.eye(q.size(2), dtype=q.dtype)
    for token in reversed(range(len(q))) if reverse else range(len(q)):
        moves = g[token].exp()[:, None, None] * identity
        adds = torch.zeros_like(initial)
        for key, value, b in zip(k[token], v[token], beta[token], strict=True):
            written = b[:, None, None] * key[:, :, None]
            step = identity - written @ key[:, None, :]
            moves, adds = step @ moves, step @ adds + written @ value[:, None, :]
        state = moves @ state + adds
        rows[token] = scale * (state.transpose(1, 2) @ q[token][:, :, None])[..., 0]
    return torch.stack([rows[token] for token in range(len(q))]) if rows else v.new_zeros(0, *v.shape[2:]), state


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("steps", "keys", "values"), [(1, 1, 1), (1, 5, 7), (2, 4, 33), (3, 33, 16), (2, 8, 81)])
def test_everything_equals_autograd_through_dense_products(steps: int, keys: int, values: int, reverse: bool):
    lengths = [0, 1, 70, 0, 33, 2]
    inputs = made(sum(lengths), steps, keys=keys, values=values)
    inputs = {name: value.requires_grad_() for name, value in inputs.items()}
    generator = torch.Generator().manual_seed(1)
    initial = torch.randn(len(lengths), 2, keys, values, generator=generator, dtype=torch.float64).requires_grad_()
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    out, final = ops.gated_delta(
        **inputs, offsets=offsets, reverse=reverse, scale=0.7, initial_state=initial, return_final_state=True
    )
    own = [part(inputs, slice(int(first), int(last))) for first, last in pairwise(offsets)]
    parts = [dense(**one, initial=initial[i], reverse=reverse, scale=0.7) for i, one in enumerate(own)]
    expected, expected_final = torch.cat([one for one, _ in parts]), torch.stack([state for _, state in parts])
    torch.testing.assert_close(out, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(final, expected_final, rtol=1e-11, atol=1e-12)
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(out.shape)
    wanted = [*inputs.values(), initial]
    found = torch.autograd.grad((out * weights).sum() + final.square().sum(), wanted, retain_graph=True)
    oracle = torch.autograd.grad((expected * weights).sum() + expected_final.square().sum(), wanted, retain_graph=True)
    for one, other in zip(found, oracle, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    # Each result alone, so that the other has no gradient at all.
    for ours, theirs in ((out, expected), (final, expected_final)):
        found, oracle = (torch.autograd.grad(one.square().sum(), wanted, retain_graph=True, allow_unused=True)
                         for one in (ours, theirs))  # fmt: skip
        for one, other in zip(found, oracle, strict=True):
            torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, rtol=1e-10, atol=1e-10)


def test_gradcheck():
    inputs = made(6, 2, heads=2, keys=3, values=2)
    initial = torch.ones(2, 2, 3, 2, dtype=torch.float64)
    tensors = [value.requires_grad_() for value in (*inputs.values(), initial)]

    def call(*values: Tensor):
        options = {"offsets": torch.tensor([0, 4, 6]), "return_final_state": True}
        return ops.gated_delta(*values[:-1], initial_state=values[-1], **options)

    assert torch.autograd.gradcheck(call, tuple(tensors))


@needs_kernels
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 80), min_size=1, max_size=6), st.integers(1, 3), st.booleans())
def test_a_sequence_gives_the_same_bits_alone_and_among_others(lengths: list[int], steps: int, reverse: bool):
    inputs = made(sum(lengths), steps, dtype=torch.float32)
    out = delta(inputs, lengths, reverse=reverse)
    begin = 0
    for length in lengths:
        alone = delta(part(inputs, slice(begin, begin + length)), [length], reverse=reverse)
        assert torch.equal(alone, out[begin : begin + length])
        begin += length


def test_reverse_is_the_scan_of_the_reversed_sequence():
    inputs = made(50, 2)
    turned = {name: value.flip(0) for name, value in inputs.items()}
    assert torch.equal(delta(turned, [50], reverse=True), delta(inputs, [50]).flip(0))
    assert torch.equal(delta(turned, [50]).flip(0), delta(inputs, [50], reverse=True))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 31, 32, 50])
def test_a_carried_state_joins_two_halves(cut: int, reverse: bool):
    inputs = made(50, 2)
    halves = [(part(inputs, slice(0, cut)), cut), (part(inputs, slice(cut, None)), 50 - cut)]
    (first, length), (second, rest) = reversed(halves) if reverse else halves
    options = {"reverse": reverse, "return_final_state": True}
    begun, state = ops.gated_delta(**first, offsets=torch.tensor([0, length]), **options)
    ended, end_state = ops.gated_delta(**second, offsets=torch.tensor([0, rest]), initial_state=state, **options)
    whole, final = ops.gated_delta(**inputs, offsets=torch.tensor([0, 50]), **options)
    assert torch.equal(torch.cat([ended, begun] if reverse else [begun, ended]), whole)
    assert torch.equal(end_state, final)


def test_three_dimensions_are_one_step():
    inputs = made(20, 1)
    short = {name: value.squeeze(1) if value.dim() == 4 or name == "beta" else value for name, value in inputs.items()}
    assert short["k"].dim() == 3
    assert short["beta"].dim() == 2
    assert torch.equal(delta(short, [15, 5]), delta(inputs, [15, 5]))


@pytest.mark.parametrize("steps", [2, 3])
def test_steps_are_tokens_of_which_the_last_one_counts(steps: int):
    lengths = [7, 0, 40]
    inputs = made(47, steps)
    long = {name: inputs[name].flatten(0, 1) for name in ("k", "v", "beta")}
    long["q"] = inputs["q"].repeat_interleave(steps, 0)
    long["g"] = torch.zeros(47, steps, 2, dtype=torch.float64)
    long["g"][:, 0] = inputs["g"]
    long["g"] = long["g"].flatten(0, 1)
    out = delta(long, [steps * length for length in lengths])
    torch.testing.assert_close(out[steps - 1 :: steps], delta(inputs, lengths), rtol=1e-13, atol=1e-13)


def test_twice_a_key_of_length_one_is_a_reflection():
    """Nothing written, nothing decayed: the length of the state stays, and the same step again undoes it."""
    inputs = made(200, 1) | {"g": None}
    inputs["v"], inputs["beta"] = torch.zeros_like(inputs["v"]), torch.full_like(inputs["beta"], 2.0)
    generator = torch.Generator().manual_seed(2)
    initial = torch.randn(1, 2, 5, 7, generator=generator, dtype=torch.float64)
    options = {"initial_state": initial, "return_final_state": True}
    _, state = ops.gated_delta(**inputs, offsets=torch.tensor([0, 200]), **options)
    torch.testing.assert_close(state.norm(dim=(2, 3)), initial.norm(dim=(2, 3)), rtol=1e-13, atol=0)
    assert float((state - initial).norm()) > 1
    back = {name: value if value is None else torch.cat([value, value.flip(0)]) for name, value in inputs.items()}
    _, state = ops.gated_delta(**back, offsets=torch.tensor([0, 400]), **options)
    torch.testing.assert_close(state, initial, rtol=1e-12, atol=1e-12)


def test_one_key_is_forgotten_or_overwritten_with_what_stays_of_others():
    """Strength 1 is the delta rule itself: what a key stood for is replaced."""
    identity = torch.eye(3, dtype=torch.float64)
    k = identity[[0, 1, 0, 2]][:, None]
    v = torch.tensor([[1.0, 2], [3, 4], [5, 6], [7, 8]], dtype=torch.float64)[:, None]
    beta = torch.tensor([[1.0], [1], [1], [0.5]], dtype=torch.float64)
    out, state = ops.gated_delta(k, k, v, beta, offsets=torch.tensor([0, 4]), scale=1.0, return_final_state=True)
    assert torch.equal(state[0, 0], torch.tensor([[5.0, 6], [3, 4], [3.5, 4]], dtype=torch.float64))
    assert torch.equal(out[:, 0], torch.tensor([[1.0, 2], [3, 4], [5, 6], [3.5, 4]], dtype=torch.float64))


def _reflections(permutation: tuple[int, ...]) -> list[tuple[Tensor, float]]:
    """At most two swaps that make up an order of three: a key of each, and its strength (0: none)."""
    swaps, order = [], list(permutation)
    for place in range(3):
        if order[place] != place:
            other = order.index(place)
            order[place], order[other] = order[other], order[place]
            key = torch.zeros(3, dtype=torch.float64)
            key[place], key[other] = 0.5**0.5, -(0.5**0.5)
            swaps.append((key, 2.0))
    return swaps[::-1] + [(torch.zeros(3, dtype=torch.float64), 0.0)] * (2 - len(swaps))


def test_two_reflections_per_token_compose_the_permutations_of_three():
    """One step swaps two rows of the state, and two make up each of the six permutations, for as long as one likes."""
    group = list(permutations(range(3)))
    generator = torch.Generator().manual_seed(0)
    word = torch.randint(6, (1000,), generator=generator).tolist()
    steps = [_reflections(group[letter]) for letter in word]
    k = torch.stack([torch.stack([key for key, _ in pair]) for pair in steps])[:, :, None]
    beta = torch.tensor([[b for _, b in pair] for pair in steps], dtype=torch.float64)[:, :, None]
    identity = torch.eye(3, dtype=torch.float64)
    out = ops.gated_delta(
        torch.tensor([0.0, 1, 2], dtype=torch.float64).expand(1000, 1, 3), k, torch.zeros_like(k), beta,
        offsets=torch.tensor([0, 1000]), scale=1.0, initial_state=identity[None, None],
    )  # fmt: skip
    assert isinstance(out, Tensor)
    order = [0, 1, 2]
    for token, letter in enumerate(word):
        order = [order[place] for place in group[letter]]
        expected = torch.zeros(3, dtype=torch.float64)
        expected[order] = torch.tensor([0.0, 1, 2], dtype=torch.float64)
        torch.testing.assert_close(out[token, 0], expected, rtol=0, atol=1e-11)


def test_decay_of_minus_infinity_begins_anew_and_growth_is_taken_as_it_is():
    inputs = made(30, 2)
    inputs["g"][12] = -torch.inf
    out = delta(inputs, [30])
    assert torch.equal(out[12:], delta(part(inputs, slice(12, None)), [18]))
    inputs = made(30, 2)
    inputs["g"] = 0.2 * inputs["g"].abs()
    initial = torch.ones(1, 2, 5, 7, dtype=torch.float64)
    expected, _ = dense(**inputs, initial=initial[0], reverse=False, scale=5**-0.5)
    torch.testing.assert_close(delta(inputs, [30], initial_state=initial), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["k", "beta", "g", "v", "q"])
def test_a_nan_reaches_the_rest_of_its_head_and_sequence_alone(name: str):
    inputs = made(60, 2)
    clean = delta(inputs, [20, 20, 20])
    inputs[name][{"q": (25, 1, 3), "g": (25, 1), "beta": (25, 1, 1)}.get(name, (25, 1, 1, 3))] = torch.nan
    out = delta(inputs, [20, 20, 20])
    hit = torch.zeros(60, 2, 7, dtype=torch.bool)
    where = {"v": (slice(25, 40), 1, 3), "q": (25, 1)}.get(name, (slice(25, 40), 1))
    hit[where] = True
    assert torch.equal(out.isnan(), hit)
    assert torch.equal(out[~hit], clean[~hit])


def test_bfloat16_is_computed_in_float32():
    inputs = made(40, 2, dtype=torch.bfloat16)
    wide = {name: value.float() for name, value in inputs.items()}
    out, state = ops.gated_delta(**inputs, offsets=torch.tensor([0, 40]), return_final_state=True)
    expected, expected_state = ops.gated_delta(**wide, offsets=torch.tensor([0, 40]), return_final_state=True)
    assert (out.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(out, expected.bfloat16())
    assert torch.equal(state, expected_state)
    mixed = inputs | {"beta": wide["beta"], "g": wide["g"]}
    assert torch.equal(delta(mixed, [40], initial_state=0 * state), out)


def test_no_tokens():
    inputs = made(0, 2)
    out, state = ops.gated_delta(**inputs, offsets=torch.tensor([0, 0, 0]), return_final_state=True)
    assert out.shape == (0, 2, 7)
    assert torch.equal(state, torch.zeros(2, 2, 5, 7, dtype=torch.float64))
    initial = torch.ones(2, 2, 5, 7, dtype=torch.float64, requires_grad=True)
    options = {"offsets": torch.tensor([0, 0, 0]), "initial_state": initial, "return_final_state": True}
    out, state = ops.gated_delta(**inputs, **options)
    assert torch.equal(state, initial)
    (grad,) = torch.autograd.grad(state.square().sum(), initial)
    assert torch.equal(grad, 2 * torch.ones_like(initial))
    assert delta(inputs, []).shape == (0, 2, 7)


BAD = [
    ({"offsets": torch.tensor([0, 4])}, IndexRangeError, "cover all of them; they run from 0 to 4"),
    ({"offsets": torch.tensor([0, 3, 2, 5])}, IndexRangeError, r"offsets\[1\] = 3 and offsets\[2\] = 2"),
    ({"offsets": torch.tensor([0.0, 5.0])}, DtypeError, "int32 or int64"),
    ({"offsets": None}, DtypeError, "offsets must be a torch.Tensor"),
    ({"q": None}, DtypeError, "q must be a torch.Tensor"),
    ({"q": torch.zeros(5, 3)}, ShapeError, r"q must have shape \[T, H, K\], k \[T, n, H, K\]"),
    ({"k": torch.zeros(5, 2, 3)}, ShapeError, "or all of k, v and beta one dimension less"),
    ({"k": torch.zeros(5, 0, 2, 3)}, ShapeError, "n at least 1"),
    ({"k": torch.zeros(5, 2, 2, 4)}, ShapeError, r"k must have shape \[T, n, H, K\] = \[5, 2, 2, 3\]"),
    ({"v": torch.zeros(5, 1, 2, 4)}, ShapeError, r"v must have shape \[T, n, H, V\] = \[5, 2, 2, 4\]"),
    ({"beta": torch.zeros(5, 2, 3)}, ShapeError, r"beta must have shape \[T, n, H\] = \[5, 2, 2\]"),
    ({"g": torch.zeros(5, 2, 2)}, ShapeError, r"g must have shape \[T, H\] = \[5, 2\]"),
    ({"initial_state": torch.zeros(2, 2, 3, 4)}, ShapeError, r"\[S, H, K, V\] = \[1, 2, 3, 4\]"),
    ({"v": torch.zeros(5, 2, 2, 4, dtype=torch.float64)}, DtypeError, "v must be torch.float32 as q is"),
    ({"k": torch.zeros(5, 2, 2, 3, dtype=torch.int64)}, DtypeError, "k must be float32, float64 or bfloat16"),
    ({"scale": "1"}, ConfigError, "scale must be a real number"),
    ({"reverse": 1}, ConfigError, "reverse must be True or False"),
    ({"return_final_state": None}, ConfigError, "return_final_state must be True or False"),
]


@pytest.mark.parametrize(("changed", "error", "message"), BAD)
def test_bad_input_is_named(changed: dict, error: type[Exception], message: str):
    inputs = made(5, 2, keys=3, values=4, dtype=torch.float32)
    arguments = {**inputs, "offsets": torch.tensor([0, 5])} | changed
    with pytest.raises(error, match=message):
        ops.gated_delta(**arguments)
