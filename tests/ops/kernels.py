"""Marks of tests that only some of the implementations can pass: references, kernels of the CPU, kernels of a GPU."""

import pytest

from gnnkit import _backend

EMULATED = "emulated" in (_backend.info()["cpu"]["path"] or "")

needs_kernels = pytest.mark.skipif(not _backend.is_active(), reason="no native library is loaded")
needs_checking_kernels = pytest.mark.skipif(
    not _backend.is_active() or EMULATED,
    reason="references and the kernels of a GPU trust what Python has checked",
)
