"""An array as the file that torch.load(weights_only=True) reads, made without torch.

vLLM takes tensors in no other form, and torch would add gigabytes to a generator that needs one small
function of it. The layout is that of torch 1.6 to 2.15: a zip archive, stored, with a pickle that names one storage.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

STORAGES: Mapping[str, bytes] = {
    "float16": b"HalfStorage",
    "float32": b"FloatStorage",
    "int64": b"LongStorage",
}
START, MARK, TUPLE, CALL, STOP = b"\x80\x02", b"(", b"t", b"R", b"."
PERSISTENT, FALSE, NOTHING = b"Q", b"\x89", b")"


def torch_file(values: npt.NDArray[Any]) -> bytes:
    """`values` are fp16, fp32 or int64, of any shape. Raises KeyError for another type."""
    plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", _pickle(plain))
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", plain.tobytes())
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def _pickle(values: npt.NDArray[Any]) -> bytes:
    storage = [_text("storage"), _name(b"torch", STORAGES[values.dtype.name]), _text("0"), _text("cpu")]
    strides = (stride // values.itemsize for stride in values.strides)
    tensor = [
        _tuple(*storage, _number(values.size)) + PERSISTENT,
        _number(0),
        _tuple(*map(_number, values.shape)),
        _tuple(*map(_number, strides)),
        FALSE,
        _name(b"collections", b"OrderedDict") + NOTHING + CALL,
    ]
    return START + _name(b"torch._utils", b"_rebuild_tensor_v2") + _tuple(*tensor) + CALL + STOP


def _name(module: bytes, name: bytes) -> bytes:
    return b"c" + module + b"\n" + name + b"\n"


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode("ascii")


def _number(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _tuple(*parts: bytes) -> bytes:
    return MARK + b"".join(parts) + TUPLE
