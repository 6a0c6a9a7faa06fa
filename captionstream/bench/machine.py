"""Where the figures come from: what this machine can do at best, how busy it is, and which versions ran."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from captionstream import __version__

PACKAGES = ("aiokafka", "onnxruntime", "numpy", "pillow", "pydantic", "tokenizers", "llguidance")
SIDE = 768
READ_MB = 256
PROBE_S = 0.4


@dataclass(frozen=True, slots=True)
class Roofline:
    """What a program can reach here: products of matrices in fp32, and reading memory, on one thread and on all."""

    sgemm_gflops: float
    sgemm_gflops_all: float
    read_gb_s: float
    read_gb_s_all: float


def described(broker: str) -> dict[str, Any]:
    """For the head of the table and the JSON file."""
    return {
        "captionstream": __version__,
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": [round(value, 2) for value in os.getloadavg()],
        "threads": "1 a worker, as many workers as cores",
        "broker": broker,
        "versions": {name: found(name) for name in PACKAGES},
        "roofline": asdict(roofline()),
    }


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def found(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def roofline() -> Roofline:
    """About two seconds."""
    sgemm, reading = sgemm_work(), read_work()
    return Roofline(
        round(rate(sgemm, 1), 1), round(rate(sgemm, cores()), 1),
        round(rate(reading, 1), 1), round(rate(reading, cores()), 1),
    )  # fmt: skip


def sgemm_work() -> Callable[[], float]:
    """Giga operations of one product, by ONNX Runtime's kernel on the thread that calls it."""
    session = one_matmul()
    left = np.random.default_rng(0).random((SIDE, SIDE), np.float32)

    def work() -> float:
        session.run(None, {"a": left, "b": left})
        return 2 * SIDE**3 / 1e9

    return work


def one_matmul() -> Any:
    """A graph of a single product, written as bytes: the `onnx` package is not part of what serves."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(matmul_graph(), options, providers=["CPUExecutionProvider"])


def matmul_graph() -> bytes:
    """ModelProto{ir_version 8, graph{MatMul(a, b) → c}, opset 17} in protobuf's wire form."""
    node = _text(1, "a") + _text(1, "b") + _text(2, "c") + _text(4, "MatMul")
    graph = _part(1, node) + _text(2, "g")
    graph += _part(11, _matrix("a")) + _part(11, _matrix("b")) + _part(12, _matrix("c"))
    return b"\x08\x08" + _part(7, graph) + _part(8, b"\x10\x11")


def _matrix(name: str) -> bytes:
    """ValueInfoProto of an fp32 matrix of any size."""
    dimension = _part(1, _text(2, "n"))
    tensor = b"\x08\x01" + _part(2, dimension + dimension)
    return _text(1, name) + _part(2, _part(1, tensor))


def _text(number: int, text: str) -> bytes:
    return _part(number, text.encode())


def _part(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def read_work() -> Callable[[], float]:
    """Gigabytes of one sum over memory that no cache holds."""
    memory = np.ones(READ_MB * 2**20 // 8, np.int64)

    def work() -> float:
        memory.max()
        return memory.nbytes / 1e9

    return work


def rate(work: Callable[[], float], threads: int) -> float:
    """What `work` gives a second, of all threads together."""
    done = [0.0] * threads

    def keep_working(place: int) -> None:
        until = time.perf_counter() + PROBE_S
        while time.perf_counter() < until:
            done[place] += work()

    begun = time.perf_counter()
    workers = [threading.Thread(target=keep_working, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - begun)
