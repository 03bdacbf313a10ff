"""Every operator has a kernel in every library: one that is forgotten would quietly run as its reference."""

import pytest
import torch

from gnnkit import _backend
from gnnkit.ops._library import references

# Operators that need no kernel of their own, by device, and why.
EXCEPTIONS: dict[str, dict[str, str]] = {"CPU": {}, "CUDA": {}}


# Under emulation, the CPU library is made of the CUDA kernels.
@pytest.mark.parametrize("device", ["CPU", "CUDA"])
def test_every_operator_has_a_kernel(device):
    if not _backend.is_active(device.lower()):
        pytest.skip(f"no library for {device} is loaded")
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    missing = {name for name in references if not has_kernel(f"gnnkit::{name}", device)}
    assert missing == set(EXCEPTIONS[device])
