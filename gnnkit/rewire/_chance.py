"""Random integers and permutations that are exactly uniform, from a generator alone."""

import torch
from torch import Tensor


def uniform_integers(count: int, bound: int, generator: torch.Generator) -> Tensor:
    """Independent integers, uniform in ``[0, bound)`` for ``1 <= bound < 2^62``, int64 ``[count]``.

    ``torch.randint`` takes remainders of 32 random bits, which for a large bound prefers small numbers noticeably.
    """
    limit = 2**63 // bound * bound
    found = torch.empty(0, dtype=torch.int64)
    while found.numel() < count:
        bits = torch.empty(count - found.numel(), dtype=torch.int64).random_(generator=generator)
        # `limit` itself may be 2^63, which int64 does not have.
        found = torch.cat([found, bits[bits <= limit - 1] % bound])
    return found


def permutation(count: int, generator: torch.Generator) -> Tensor:
    """A uniform permutation of ``0 .. count - 1``."""
    return torch.empty(count, dtype=torch.int64).random_(generator=generator).argsort(stable=True)


def distinct_integers(count: int, bound: int, generator: torch.Generator) -> Tensor:
    """A uniform choice of ``count <= bound`` different integers in ``[0, bound)``, in order of drawing.

    Complexity: ``O(count log count)`` time and ``O(count)`` memory, whatever the bound.
    """
    if 2 * count >= bound:
        return permutation(bound, generator)[:count]
    found = torch.empty(0, dtype=torch.int64)
    while found.numel() < count:
        # Drawn one after the other, a number that is there already would be drawn again: the first stays.
        drawn = torch.cat([found, uniform_integers(count - found.numel(), bound, generator)])
        found = drawn[first_of_equals(drawn)]
    return found


def first_of_equals(value: Tensor) -> Tensor:
    """Marks the first of each group of equal entries, bool ``[N]``."""
    order = value.argsort(stable=True)
    ordered = value[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    out = torch.empty_like(first)
    out[order] = first
    return out
