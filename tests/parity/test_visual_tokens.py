"""What travels between eye and language model."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from captionstream.payloads.store import PayloadStore
from triton_models.vision_language.visual_tokens import (
    MEDIA_TYPE,
    NotVisualTokens,
    Precision,
    VisualTokens,
    decode,
    encode,
)


def tokens(count: int = 6, width: int = 8, grid: tuple[int, ...] = ()) -> VisualTokens:
    values = np.random.default_rng(5).standard_normal((count, width), np.float32)
    return VisualTokens(values, grid)


def test_in_fp32_they_arrive_bit_for_bit() -> None:
    """The proof compares models, not what the way does to numbers."""
    sent = tokens(grid=(1, 4, 6))
    arrived = decode(encode(sent, "float32"), width=8)
    assert sent.values.tobytes() == arrived.values.tobytes()
    assert (1, 4, 6) == arrived.grid


def test_in_fp16_they_take_half_the_bytes_and_lose_less_than_a_thousandth() -> None:
    """It is the default on the way."""
    sent = tokens(count=64)
    arrived = decode(encode(sent), width=8)
    assert np.float16 == arrived.values.dtype
    assert not np.array_equal(sent.values, arrived.values)
    np.testing.assert_allclose(arrived.values.astype(np.float32), sent.values, rtol=1e-3, atol=1e-6)
    assert 64 * 8 * 2 == len(encode(sent, "float32")) - len(encode(sent))


@pytest.mark.parametrize(
    ("count", "width", "inline"), [(64, 576, True), (729, 1152, False), (1280, 3584, False)]
)
async def test_small_ones_ride_in_the_message_and_large_ones_by_claim_check(
    count: int, width: int, inline: bool, tmp_path: Path
) -> None:
    """64 tokens of 576 are 73 KB; a tower at 384 pixels fills 1.7 MB, which no record takes."""
    payloads = PayloadStore.open(str(tmp_path))
    sent = encode(tokens(count, width))
    payload = await payloads.put(sent, MEDIA_TYPE)
    assert inline == (payload.inline is not None)
    assert 0 <= payload.size - count * width * 2 < 256
    assert sent == await payloads.get(payload)
    assert (count, width) == decode(await payloads.get(payload), width).values.shape


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.full((2, 8), np.nan, np.float32), "no finite float16"),
        (np.full((2, 8), 70000, np.float32), "no finite float16"),
        (np.zeros((0, 8), np.float32), "shape"),
        (np.zeros((8,), np.float32), "shape"),
        (np.zeros((16_385, 2), np.float32), "shape"),
    ],
)
def test_what_no_language_model_can_read_is_not_sent(values: np.ndarray[Any, Any], why: str) -> None:
    """A number that fp16 cannot hold would arrive as infinity."""
    with pytest.raises(NotVisualTokens, match=why):
        encode(VisualTokens(values))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no safetensors"),
        (pickle.dumps(np.zeros((2, 8))), "no safetensors"),
        (save({"embedding": np.zeros((2, 8), np.float16)}), "holds"),
        (save({"visual_tokens": np.zeros((2, 8), np.float16), "more": np.zeros(1)}), "holds"),
        (save({"visual_tokens": np.zeros((2, 8), np.int64)}), "values are int64"),
        (save({"visual_tokens": np.zeros((2, 9), np.float16)}), "9 values a token"),
        (save({"visual_tokens": np.full((2, 8), np.inf, np.float16)}), "no finite"),
        (save({"visual_tokens": np.zeros((2, 8), np.float16), "grid": np.zeros(3, np.int32)}), "grid"),
        (save({"visual_tokens": np.zeros((2, 8), np.float16), "grid": np.array([1, -2, 2])}), "grid"),
        (save({"visual_tokens": np.zeros((2, 8), np.float16), "grid": np.array([9, 9**9, 9**9])}), "grid"),
    ],
)
def test_bytes_that_are_no_visual_tokens_of_this_model_are_refused(data: bytes, why: str) -> None:
    """Whoever writes to the topic cannot make the generator read anything else."""
    with pytest.raises(NotVisualTokens, match=why):
        decode(data, width=8)


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_second_encoding_is_the_same_bytes(precision: Precision) -> None:
    """The payload store keeps equal ones once, and a replay finds them."""
    assert encode(tokens(grid=(2, 3)), precision) == encode(tokens(grid=(2, 3)), precision)
