"""The parameters of the convolutions that have one linear map and one bias."""

import torch


class LinearConv(torch.nn.Module):
    """A linear map ``lin``, a bias, and what is printed of them. A subclass draws the weights."""

    bias: torch.nn.Parameter | None

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.lin = torch.nn.Linear(in_channels, out_channels, bias=False)
        self.bias = torch.nn.Parameter(torch.empty(out_channels)) if bias else None

    def reset_parameters(self) -> None:
        """Draws new weights: Glorot uniform, bias 0."""
        torch.nn.init.xavier_uniform_(self.lin.weight)
        if self.bias is not None:
            torch.nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.in_channels}, {self.out_channels}, bias={self.bias is not None}"
