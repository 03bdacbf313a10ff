"""The ``gnnkit`` operator library: schemas are defined here once, kernels attach to them from C++."""

from collections.abc import Callable
from typing import Any

import torch

library = torch.library.Library("gnnkit", "DEF")

# The reference implementation of every operator, by name.
references: dict[str, Callable[..., Any]] = {}


def define(
    schema: str,
    *,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    save: Callable[..., Any] | None = None,
) -> None:
    """Defines one operator.

    Args:
        schema: Name, arguments and returns in PyTorch's schema language.
        reference: Plain PyTorch implementation: the oracle of the tests, and what runs where no library is loaded.
        fake: Shapes and dtypes of the results, for tracing.
        backward: Gradient formula, itself made of operators. None: not differentiable.
        save: ``setup_context`` of the gradient formula.
    """
    name = schema.partition("(")[0]
    references[name] = reference
    library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    library.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(f"gnnkit::{name}", fake, lib=library)
    if backward is not None:
        torch.library.register_autograd(f"gnnkit::{name}", backward, setup_context=save, lib=library)
