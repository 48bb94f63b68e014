"""Faults of the function itself: what the caller is told, and when the process has to end."""

from __future__ import annotations

from serverless.requests import RequestError

OUT_OF_MEMORY = (
    "out of memory",
    "allocate memory",
    "not enough memory",
    "bad_alloc",
    "insufficient memory",
)
"""What torch on a CPU and on a GPU, C++ and OpenCV say, in lower case."""


def is_out_of_memory(fault: Exception) -> bool:
    """Tell whether a fault is a lack of memory, of the machine or of the GPU."""
    text = str(fault).lower()
    return isinstance(fault, MemoryError) or any(words in text for words in OUT_OF_MEMORY)


def is_device_broken(fault: Exception, device: str) -> bool:
    """Tell whether, after a fault, all that follows on the device would fail or be wrong.

    After an error in a kernel every call of CUDA in this process fails, so one that does nothing
    but wait tells it. A lack of memory breaks nothing.
    """
    if "CUDA error" in str(fault) and not is_out_of_memory(fault):
        return True
    if not device.startswith("cuda"):
        return False
    import torch

    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


def release_memory(device: str) -> None:
    """Give what torch holds of a GPU's memory and does not use back to it."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def told(fault: Exception) -> RequestError:
    """Return what the caller is told of a fault; the log has the details."""
    if is_out_of_memory(fault):
        return RequestError(
            "out_of_memory", "the picture needs more memory than the function has", "image"
        )
    return RequestError("internal", "the function failed, its log tells why", None)
