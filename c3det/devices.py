"""What differs between a CPU and a GPU, in one place.

The policy of precision, for evaluation, the check of an export and serving alike:

- On a CPU everything is computed in float32. The exception is the open model's search for
  proposals at other scales than the picture's own: it runs in bfloat16 (autocast) where the
  processor has instructions for it, in half the time; a box moves by some tenths of a pixel.
- On a GPU, too, without TF32. The exception is late fusion, the branch that reads the clicks'
  heatmaps: it runs in float16 (autocast), and its result is added in float32. A GPU finds the
  boxes that the CPU finds, to 0.02 px and 0.0005 of score (`tests/c3det/test_on_device.py`); the
  open model at the picture's own scale, see above.

Two things are outside the networks: the Gaussians of clicks are taken in float64, on the CPU, and
features that are kept for lack of memory lie in float16 until they are used again
(`c3det.closed.incremental.Tile.pack`). Training chooses for itself (``--precision``); there too,
box coordinates stay in float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def use_float32(device: torch.device) -> None:
    """Follow the policy on a device, in this process: torch has no narrower switch for TF32."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def late_fusion_precision(device: torch.device) -> AbstractContextManager[Any]:
    """The context in which late fusion is computed, outside training."""
    if device.type != "cuda":
        return nullcontext()
    # Weights that autocast caches in one call must not outlive the recording of a graph.
    return torch.autocast(device.type, torch.float16, cache_enabled=False)


def other_scales_precision(device: torch.device) -> AbstractContextManager[Any]:
    """The context in which the open model searches at other scales, see the module."""
    fast = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(device.type, torch.bfloat16, enabled=fast, cache_enabled=fast)


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy a tensor of the CPU to a device without waiting for the device."""
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()  # from other memory a copy first waits for what is queued
    return tensor.to(device, non_blocking=True)


def wait_for(device: torch.device) -> None:
    """Wait until a device has finished its work, for timing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
