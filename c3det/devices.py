"""What differs between a CPU and a GPU, in one place.

The policy of precision, for evaluation, the check of an export and serving alike: everything is
computed in float32. Nothing runs in half precision, and TF32 is off, so that a GPU finds the boxes
that the CPU finds; on a GPU levels are contiguous, as on a CPU. Two exceptions, neither in a
network: the Gaussians of clicks are taken in float64 on the CPU, and features that are kept for
lack of memory lie in float16 until they are used again (`c3det.incremental.Tile.pack`). Training
chooses for itself (``--precision``); there too, box coordinates stay in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor


def use_float32(device: torch.device) -> None:
    """Follow the policy on a device, in this process: torch has no narrower switch for TF32."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def moved(tensor: Tensor, device: torch.device | None) -> Tensor:
    """Bring a tensor of the CPU to a device without waiting for what the device is doing."""
    return tensor if device is None else tensor.to(device, non_blocking=True)


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all it was asked to, so that a clock tells what it took."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
