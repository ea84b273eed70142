"""Files that people take for ONNX models, known by their first bytes."""

from __future__ import annotations

import codecs

_DOWNLOAD = "Fetch the model file itself: a download may have saved an error page or a link instead."
_TEXT = (
    "Give the path of an .onnx file. A program that defines a model must export it first; a download may have saved "
    "a message instead of the file."
)
_EXPORT = "Export the model to ONNX first"

_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89PNG\r\n", "a PNG image", "Give the model first; images for calibration go behind --calib."),
    (0, b"\xff\xd8\xff", "a JPEG image", "Give the model first; images for calibration go behind --calib."),
    (0, b"GIF8", "a GIF image", "Give the model first; images for calibration go behind --calib."),
    (0, b"%PDF", "a PDF document", "Give the path of an .onnx file."),
    (0, b"\x1f\x8b", "a gzip archive", "Unpack it, and give the .onnx file inside."),
    (0, b"\xfd7zXZ\x00", "an xz archive", "Unpack it, and give the .onnx file inside."),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", "Unpack it, and give the .onnx file inside."),
    (257, b"ustar", "a tar archive", "Unpack it, and give the .onnx file inside."),
    (
        0,
        b"PK\x03\x04",
        "a zip archive, as PyTorch (.pt), Keras (.keras) and downloads use it",
        f"{_EXPORT}, or unpack it.",
    ),
    (0, b"\x89HDF\r\n", "an HDF5 file, as Keras (.h5) uses it", f"{_EXPORT}, with tf2onnx for example."),
    (4, b"TFL3", "a TFLite model", f"{_EXPORT}; a .tflite file is what edgec writes, not what it reads."),
    (4, b"ORTM", "a model in ONNX Runtime's own format (.ort)", "Give the .onnx file that it was made from."),
    (0, b"GGUF", "a GGUF language model", "edgec takes ONNX models only."),
    (0, b"\x7fELF", "a program or a shared library", "Give the path of an .onnx file."),
    (0, b"\x80\x02", "a Python pickle, as older PyTorch uses it", f"{_EXPORT}, with torch.onnx.export."),
    (0, b"\x93NUMPY", "a numpy array", "Give the model first; arrays for calibration go behind --calib."),
)
_TEXTS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, which stands for the model that was not downloaded",
        "Run `git lfs install` and `git lfs pull` in the repository.",
    ),
    (b"<!doctype html", "a web page", _DOWNLOAD),
    (b"<html", "a web page", _DOWNLOAD),
    (b"<?xml", "an XML file, as OpenVINO (.xml) uses it", "Give the .onnx file that it was made from."),
    (b"{", "a JSON document", _DOWNLOAD),
    (b"ir_version:", "an ONNX model as protobuf text", "Save it in the binary form: `onnx.save(model, 'model.onnx')`."),
)


def what_it_is(head: bytes) -> tuple[str, str] | None:
    """(what the file looks like, what to do) by its first bytes; None when they look like nothing known.

    head: up to 4096 bytes.
    """
    for offset, signature, what, fix in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return what, fix
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27:
        return "a safetensors file, which holds weights without a graph", f"{_EXPORT}."
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for signature, what, fix in _TEXTS:
        if start.startswith(signature):
            return what, fix
    return ("a text file", _TEXT) if head and _is_text(head) else None


def _is_text(head: bytes) -> bool:
    """Whether bytes are UTF-8 without control characters; a character may be cut off at the end."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all((char >= " " and char != "\x7f") or char in "\t\r\n\f" for char in text)
