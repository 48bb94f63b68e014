"""Faults of the function itself: lack of memory, a broken GPU, and anything else."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from serverless.faults import is_device_broken, is_out_of_memory, request_error
from serverless.main import handler
from tests.serverless.fakes import base64_picture, event, make_context

ROOT = Path(__file__).resolve().parents[2]


def np_error() -> MemoryError:
    """What numpy raises."""
    with pytest.raises(MemoryError) as raised:
        np.empty(1 << 62, np.uint8)
    return raised.value


def raised_from(cause: BaseException) -> RuntimeError:
    fault = RuntimeError("the picture could not be computed")
    fault.__cause__ = cause
    return fault


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        np_error(),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        torch.OutOfMemoryError("whatever it says"),
        torch.cuda.OutOfMemoryError("whatever it says"),
        raised_from(torch.OutOfMemoryError("whatever it says")),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cudaErrorMemoryAllocation: the API call failed"),
        RuntimeError("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDn...`"),
        RuntimeError("cusparse error: CUSPARSE_STATUS_ALLOC_FAILED"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
        RuntimeError("CURAND_STATUS_ALLOCATION_FAILED"),
        RuntimeError("nvrtc: error: NVRTC_ERROR_OUT_OF_MEMORY"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("FIND was unable to find an engine to execute this computation"),
        RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("std::bad_alloc"),
        Exception("OpenCV(4.12.0) (-4:Insufficient memory) Failed to allocate 9 bytes"),
    ],
    ids=str,
)
def test_lack_of_memory_in_everyones_words(fault: Exception) -> None:
    assert is_out_of_memory(fault)
    assert request_error(fault).code == "out_of_memory"
    assert not is_device_broken(fault, "cpu")


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered",
        "CUDA error: unspecified launch failure",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle, ...)`",
        "CUBLAS_STATUS_EXECUTION_FAILED",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "cuDNN error: CUDNN_STATUS_MAPPING_ERROR",
    ],
)
def test_errors_of_kernels_break_the_device_and_lack_no_memory(words: str) -> None:
    fault = RuntimeError(words)
    assert not is_out_of_memory(fault)
    assert is_device_broken(fault, "cpu")


@pytest.mark.parametrize("status", ["INTERNAL_ERROR", "NOT_INITIALIZED"])
def test_errors_of_cudnn_that_may_be_anything_are_asked_of_the_gpu(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    fault = RuntimeError(f"cuDNN error: CUDNN_STATUS_{status}")
    assert request_error(fault).code == "internal"
    monkeypatch.setattr("torch.cuda.synchronize", lambda device: None)
    assert not is_device_broken(fault, "cuda")


def test_other_faults() -> None:
    fault = RuntimeError("shapes do not fit")
    assert not is_out_of_memory(fault)
    assert request_error(fault).code == "internal"
    assert "shapes" not in request_error(fault).message
    assert not is_device_broken(fault, "cpu")


def test_a_wait_that_lacks_memory_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: str) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr("torch.cuda.synchronize", fail)
    assert not is_device_broken(RuntimeError("CUDA out of memory."), "cuda:0")


@pytest.mark.parametrize("fault", [RuntimeError("CUDA out of memory."), KeyError("x")])
def test_a_gpu_is_broken_if_it_cannot_be_waited_for(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(device: str) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("torch.cuda.synchronize", lambda device: None)
    assert not is_device_broken(fault, "cuda:0")
    monkeypatch.setattr("torch.cuda.synchronize", fail)
    assert is_device_broken(fault, "cuda:0")


def test_lack_of_memory_empties_the_cache_and_the_gpus() -> None:
    emptied = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.synchronize", lambda device: None)
        patch.setattr("torch.cuda.empty_cache", lambda: emptied.append(True))
        context = make_context(device="cuda")
        cache = context.user_data.cache
        plugin = {"image": base64_picture(), "pos_points": [], "neg_points": [[-1, 1]]}
        handler(context, event(plugin))
        assert len(cache) == 1
        context.user_data.predictor.fault = RuntimeError("CUDA out of memory. Tried to allocate")
        handler(context, event({**plugin, "image": base64_picture(value=9)}))
    assert len(cache) == 0
    assert emptied == [True]


BROKEN_DEVICE = """
import sys
from serverless.main import handler
from tests.serverless.fakes import base64_picture, event, make_context
context = make_context()
context.user_data.predictor.fault = RuntimeError("CUDA error: an illegal memory access")
handler(context, event({"image": base64_picture(), "pos_points": [], "neg_points": [[-1, 1]]}))
print("the process went on")
"""


def test_a_broken_gpu_ends_the_process_with_a_code_that_is_not_0() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BROKEN_DEVICE], cwd=ROOT, capture_output=True, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stdout == b""


# The model runs in a process whose memory cannot grow by more than 300 MB.
SCARCE = """
import json, os, resource
from serverless.deployment import FUNCTION
from serverless.nuclio_worker import NuclioWorker
from serverless.settings import ServingSettings
from tests.serverless.fakes import Log, base64_picture

def ask(width, height):
    payload = {"image": base64_picture(width, height), "pos_points": [], "neg_points": [[-1, 1]]}
    return json.loads(worker.post(json.dumps(payload).encode()).body)

worker = NuclioWorker.load(FUNCTION, Log())
worker.start(ServingSettings.from_environment(os.environ))
before = ask(60, 40)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 300_000_000, resource.RLIM_INFINITY))
large = ask(3000, 3000)
after = ask(60, 40)
cache = worker.context.user_data.cache
print(json.dumps([before, large, after, len(cache)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
def test_out_of_memory_is_an_answer_and_the_next_request_is_answered_right() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCARCE], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    before, large, after, entries = json.loads(ended.stdout.splitlines()[-1])
    assert large["error"]["code"] == "out_of_memory"
    assert large["error"]["field"] == "image"
    assert after["error"] is None
    assert after["boxes"] == before["boxes"]
    assert after["cache"] == "miss", "the cache was emptied"
    assert entries == 1
