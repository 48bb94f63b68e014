"""Faults of the function itself: the error that the caller gets, and when the process must end."""

from __future__ import annotations

from serverless.protocol import RequestError

OUT_OF_MEMORY = (
    "out of memory",  # torch's allocator, and what CUDA says of cudaErrorMemoryAllocation
    "out_of_memory",  # CUDA_ERROR_OUT_OF_MEMORY, NVRTC_ERROR_OUT_OF_MEMORY
    "memoryallocation",  # cudaErrorMemoryAllocation
    "alloc_failed",  # CUBLAS_STATUS_, CUDNN_STATUS_, CUSOLVER_STATUS_, CUSPARSE_STATUS_, CUFFT_
    "allocation_failed",  # CURAND_STATUS_, CUDNN_STATUS_INTERNAL_ERROR_DEVICE_
    # cuDNN has one for every convolution of ours. torch tries them one by one and passes over what
    # lacks memory to work in; these are its words where none is left.
    "unable to find an engine",
    "unable to find a valid cudnn algorithm",
    # oneDNN has a primitive for all of our convolutions; it lacks memory for its code or data.
    "could not create a primitive",
    "could not create a memory object",
    # C++, torch on a CPU, the system, OpenCV
    "allocate memory",
    "not enough memory",
    "bad_alloc",
    "insufficient memory",
)
"""Words of messages about a lack of memory, in lower case.

``CUDNN_STATUS_INTERNAL_ERROR`` and ``..._NOT_INITIALIZED`` are not among them: they may mean that
or anything else. They count as a fault of the function, and the GPU is tried, to see whether it can
still be used.
"""

DEVICE_BROKEN = (
    "cuda error",
    "status_execution_failed",  # CUBLAS_, CUDNN_: a kernel of theirs did not run
    "status_mapping_error",
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
)
"""Words of messages about an error in a kernel, after which a process cannot use CUDA any more."""


def is_out_of_memory(fault: BaseException) -> bool:
    """Tell whether a fault is a lack of memory, of the machine or of the GPU, by type or words.

    What a fault was raised from counts too.
    """
    import torch

    if isinstance(fault, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(fault).lower()
    if any(words in text for words in OUT_OF_MEMORY):
        return True
    return fault.__cause__ is not None and is_out_of_memory(fault.__cause__)


def is_device_broken(fault: BaseException, device: str) -> bool:
    """Tell whether, after a fault, all that follows on the device would fail or be wrong.

    After an error in a kernel every call of CUDA in this process fails, so one that does nothing
    but wait tells it. A lack of memory breaks nothing.
    """
    text = str(fault).lower()
    if any(words in text for words in DEVICE_BROKEN) and not is_out_of_memory(fault):
        return True
    if not device.startswith("cuda"):
        return False
    import torch

    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        return not is_out_of_memory(error)
    return False


def release_memory(device: str) -> None:
    """Give what torch holds of a GPU's memory and does not use back to it."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def request_error(fault: BaseException) -> RequestError:
    """Return the error that the caller gets for a fault; the log has the details."""
    if is_out_of_memory(fault):
        return RequestError(
            "out_of_memory", "the picture needs more memory than the function has", "image"
        )
    return RequestError("internal", "the function failed, its log tells why", None)
