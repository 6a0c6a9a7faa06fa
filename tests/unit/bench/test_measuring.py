"""Rounds take turns, ratios are of the same round, and processor time counts those below a process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnxruntime as ort
from PIL import Image

from captionstream.bench import decoding, machine, pictures
from captionstream.bench.measuring import Spread, cpu_of, in_turn, ratios


def test_both_sides_work_in_every_round() -> None:
    """And the one that goes first changes, so that neither always meets the colder machine."""
    order: list[str] = []

    def work(name: str, figure: float) -> float:
        order.append(name)
        return figure

    found = in_turn([lambda: work("a", 1.0), lambda: work("b", 2.0)], 3)
    assert ([[1.0] * 3, [2.0] * 3], list("abbaab")) == (found, order)


def test_a_ratio_is_of_one_round() -> None:
    """A round in which the whole machine was slow changes nothing."""
    assert Spread(2.0, 2.0, 2.0, 3) == ratios([2.0, 20.0, 4.0], [1.0, 10.0, 2.0])


def test_children_count_and_the_dead_cost_nothing() -> None:
    """A child's processor time is its parent's for us; a process that is gone has none."""
    spin = "import time\nwhile time.process_time() < 0.3: pass\n"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}]); print(); input()"
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    assert 0.29 < cpu_of(parent.pid)
    parent.communicate("\n")
    assert 0.0 == cpu_of(parent.pid)


def test_the_probe_multiplies_matrices() -> None:
    """The graph that is written by hand is one that ONNX Runtime takes, and it gives the product."""
    session = ort.InferenceSession(machine.matmul_graph(), providers=["CPUExecutionProvider"])
    left = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(left @ left.T, session.run(None, {"a": left, "b": np.ascontiguousarray(left.T)})[0])


def test_a_camera_picture_is_decoded_near_enough() -> None:
    """Ours against a full decode of the same file: one size, at least 35 dB; a picture is infinitely near itself."""
    wave = np.sin(np.linspace(0, 9, 640))[None, :, None] * np.cos(np.linspace(0, 5, 480))[:, None, None]
    photograph = Image.fromarray(np.repeat((wave * 100 + 128).astype(np.uint8), 3, axis=2))
    data = pictures.camera_jpeg(photograph, 4.0, (2000, 1500))
    full, own = decoding.full(data), decoding.ours(data)
    assert (384, 288) == full.size == own.size
    assert decoding.LEAST_PSNR < decoding.psnr(full, own) < decoding.psnr(full, full)


def test_varied_pictures_are_all_different() -> None:
    """By their pixels, which is what the encoder knows a picture by."""
    grey = Image.new("RGB", (64, 48), "grey")
    assert 300 == len({decoding.ours(pictures.varied(grey, number)).tobytes() for number in range(300)})
