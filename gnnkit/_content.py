"""What tensors hold, as bytes and as one checksum."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a tensor, as what files and checksums take; through bytes, because NumPy has no bfloat16."""
    return flat_bytes(tensor).numpy().data


def flat_bytes(tensor: Tensor) -> Tensor:
    """The memory of a tensor, uint8 ``[n]``."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, whatever their order."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}\n".encode())
        digest.update(bytes_of(tensors[key]))
    return digest.hexdigest()
