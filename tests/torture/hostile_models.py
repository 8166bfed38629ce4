"""Malformed style models: other formats, changed bytes, metadata and weights that lie."""

import json
import pickle
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from blends import SMALL, small_network
from safetensors.torch import save
from torch import Tensor
from torture.hostile_images import changed

from nst_rt.models.style_model import Style, StyleModel

_CHANGES = 20


class _Harmful:
    """Writes a file if it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._trace,)


def hostile_models(trace: Path) -> dict[str, bytes]:
    """The files by name; those in pickle's format would write the file `trace`."""
    return {f"{name}.safetensors": content for name, content in _files(trace)}


def _files(trace: Path) -> Iterator[tuple[str, bytes]]:
    file = trace.with_name("whole.safetensors")
    styles = (Style("waves", "The Waves", "An artist", "1831", "CC0"), Style("night"))
    StyleModel(small_network(styles=2), styles, {"steps": 12}).save(file, overwrite=True)
    whole = file.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    weights = whole[8 + size :]

    def with_header(made: dict[str, Any]) -> bytes:
        text = json.dumps(made).encode()
        return struct.pack("<Q", len(text)) + text + weights

    def with_metadata(**changes: str) -> bytes:
        return with_header({**header, "__metadata__": {**header["__metadata__"], **changes}})

    harmful = _Harmful(trace)
    torch_file = BytesIO()
    torch.save({"net": harmful}, torch_file)
    yield "pickle", pickle.dumps(harmful)
    yield "pickle_protocol_0", pickle.dumps(harmful, protocol=0)
    yield "torch", torch_file.getvalue()
    yield "empty", b""
    yield "text", b"hello"
    yield "zeros", bytes(1000)
    yield "png", b"\x89PNG\r\n\x1a\n" + bytes(100)
    yield "zip", b"PK\3\4" + bytes(100)
    yield "header_beyond_the_end", struct.pack("<Q", 10**9) + whole[8:]
    yield "header_of_all_bytes", b"\xff" * 8 + whole[8:]
    yield "header_empty", struct.pack("<Q", 2) + b"{}"
    yield "header_list", struct.pack("<Q", 2) + b"[]"
    yield "header_deep", struct.pack("<Q", 200_000) + b"[" * 100_000 + b"]" * 100_000
    yield "header_large", struct.pack("<Q", 60_000_000) + b'{"a":"' + b" " * 59_999_994
    for fraction in (0.001, 0.1, 0.5, 0.9, 0.999):
        yield f"truncated_{fraction}", whole[: int(fraction * len(whole))]
    yield "more_at_the_end", whole + bytes(1000)
    for seed in range(_CHANGES):
        yield f"changed_{seed}", changed(whole, f"model {seed}")

    for name, value in {
        "version_digits": "4" * 5000,
        "version_letters": "four",
        "version_later": "5",
        "version_superscript": "\N{SUPERSCRIPT FOUR}",
    }.items():
        yield name, with_metadata(format_version=value)
    yield "architecture", with_metadata(architecture="x\n" * 1000)
    for name, values in {
        "huge": {"trunk": 10**6, "decoder": 10**6},
        "more_than_an_integer": {"trunk": 10**30},
        "blocks": {"blocks": 10**9},
        "many_blocks": {"blocks": 10**5},
        "no_blocks": {"blocks": 0},
        "dilation": {"dilation": 10**9},
        "negative_dilation": {"dilation": -1},
        "no_dilation": {"dilation": 0},
        "real": {"trunk": 8.0},
        "text": {"trunk": "8"},
        "true": {"blocks": True},
        "none": {"blocks": None},
        "styles": {"styles": 3},
        "shared": {"shared": False},
        "not_a_number": {"trunk": float("nan")},
    }.items():
        yield (
            f"parameters_{name}",
            with_metadata(hyper_parameters=json.dumps({**SMALL["fast"], **values})),
        )
    for name, text in {
        "list": "[1]",
        "deep": "[" * 100_000,
        "digits": '{"trunk": ' + "9" * 10_000 + "}",
        "nothing": "null",
        "cut": "{",
    }.items():
        yield f"parameters_{name}", with_metadata(hyper_parameters=text)
        yield f"styles_{name}", with_metadata(styles=text)
        yield f"training_{name}", with_metadata(training=text)
    yield "shared_deep", with_metadata(shared="[" * 100_000)
    yield "not_shared", with_metadata(shared="false")
    night: dict[str, Any] = {"name": "night"}
    for name, style in {
        "number": {"name": 3},
        "no_name": {"name": ""},
        "lines": {"name": "a\nb\x1b[31m"},
        "path": {"name": "../../a"},
        "folders": {"name": "a\\b"},
        "title_lines": {"name": "waves", "title": "a\x1b]0;b\x07"},
        "twice": night,
        "title": {"name": "waves", "title": ["a"]},
        "preview": {"name": "waves", "preview": 3},
        "fingerprint": {"name": "waves", "fingerprint": "text"},
        "fingerprint_lists": {"name": "waves", "fingerprint": [[1]]},
        "unknown": {"name": "waves", "price": 3},
        "list": ["waves"],
    }.items():
        yield f"style_{name}", with_metadata(styles=json.dumps([style, night]))
    yield (
        "style_millions",
        with_metadata(styles=json.dumps([{"name": str(number)} for number in range(200_000)])),
    )
    for name, record in {
        "text": "steps",
        "by_style": {"by_style": [1]},
        "by_style_text": {"by_style": {"night": "x"}},
        "earlier": {"earlier": "x"},
        "earlier_numbers": {"earlier": [1, 2]},
    }.items():
        yield f"record_{name}", with_metadata(training=json.dumps(record))

    tensors = _tensors(header, weights)
    metadata = header["__metadata__"]
    first = next(iter(tensors))
    for name, value in {
        "nan": torch.full_like(tensors[first], float("nan")),
        "infinite": torch.full_like(tensors[first], float("inf")),
        "beyond_float32": torch.full(tensors[first].shape, 1e300, dtype=torch.float64),
        "integers": tensors[first].to(torch.int64),
        "truth": tensors[first].bool(),
        "bytes": tensors[first].to(torch.uint8),
        "complex": tensors[first].to(torch.complex64),
        "float8": tensors[first].to(torch.float8_e4m3fn),
        "transposed": tensors[first].transpose(0, -1).contiguous(),
        "flat": tensors[first].flatten(),
        "scalar": torch.zeros(()),
        "no_elements": torch.zeros(0),
    }.items():
        yield f"weights_{name}", save({**tensors, first: value}, metadata)
    yield "weights_missing", save({k: v for k, v in tensors.items() if k != first}, metadata)
    yield "weights_more", save({**tensors, "x\n" * 500: torch.zeros(1)}, metadata)
    for name, change in {
        "shape_beyond": {"shape": [10**12, 10**12]},
        "offsets_beyond": {"data_offsets": [0, 10**15]},
        "offsets_negative": {"data_offsets": [-5, 5]},
        "offsets_reversed": {"data_offsets": [100, 0]},
        "dtype_unknown": {"dtype": "F3"},
        "dtype_other": {"dtype": "I64"},
    }.items():
        yield name, with_header({**header, first: {**header[first], **change}})


def _tensors(header: dict[str, Any], weights: bytes) -> dict[str, Tensor]:
    return {
        key: torch.frombuffer(
            bytearray(weights[slice(*facts["data_offsets"])]), dtype=torch.float16
        ).view(facts["shape"])
        for key, facts in header.items()
        if key != "__metadata__"
    }
