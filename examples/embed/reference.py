#!/usr/bin/env python3
"""The embeddings of the `embed` job, computed without any of Assay, and how far a result is from them.

    pip install --no-deps --require-hashes -r requirements.txt
    python reference.py RESULT.npy             compare a result, print one JSON object
    python reference.py --write REFERENCE.npy  write the reference itself

Exit status: 0 if the result agrees within the tolerances of job.toml, 1 if it does not, 2 for anything else.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers

HERE = Path(__file__).resolve().parent
MODEL = "models/all-minilm-l6-v2-int8.onnx"
MAX_TOKENS = 128
ATOL, RTOL, MIN_COSINE = 1e-4, 1e-3, 0.999  # as in job.toml


def default_model() -> Path:
    home = os.environ.get("ASSAY_HOME")
    return (Path(home) if home else Path.home() / ".cache/assay") / MODEL


def embed(lines: list[str], model: Path) -> np.ndarray:
    """One unit vector of 384 numbers a line; one line a run, because int8 scales depend on the whole batch."""
    tokenizer = tokenizers.Tokenizer.from_file(str(HERE / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    rows = []
    for line in lines:
        ids = np.array([tokenizer.encode(line).ids], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (states,) = session.run(["last_hidden_state"], inputs)
        mean = states[0].astype(np.float64).mean(axis=0)
        rows.append((mean / max(np.linalg.norm(mean), 1e-12)).astype(np.float32))
    return np.stack(rows)


def compare(result: np.ndarray, reference: np.ndarray) -> dict:
    if result.shape != reference.shape or result.dtype != np.float32:
        want, got = f"f32{list(reference.shape)}", f"{result.dtype}{list(result.shape)}"
        raise ValueError(f"the result is {got}, not {want}")
    a, b = result.astype(np.float64), reference.astype(np.float64)
    cosines = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    bound = ATOL + RTOL * np.abs(b).max(axis=1, keepdims=True)
    return {
        "items": len(result),
        "max_abs_diff": float(np.abs(a - b).max()),
        "min_cosine": float(cosines.min()),
        "bit_identical_items": int((result == reference).all(axis=1).sum()),
        "agrees": bool((np.abs(a - b) <= bound).all() and cosines.min() >= MIN_COSINE),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", nargs="?", type=Path, help="the job's .npy result")
    parser.add_argument("--write", type=Path, help="write the reference embeddings here")
    parser.add_argument("--input", type=Path, default=HERE / "data/lines.txt")
    parser.add_argument("--model", type=Path, default=default_model())
    options = parser.parse_args()
    if not options.result and not options.write:
        parser.error("give a result to compare, or --write")
    lines = options.input.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    reference = embed(lines, options.model)
    if options.write:
        np.save(options.write, reference)
    if not options.result:
        return 0
    summary = compare(np.load(options.result, allow_pickle=False), reference)
    print(json.dumps(summary))
    return 0 if summary["agrees"] else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        print(f"reference.py: {error}", file=sys.stderr)
        sys.exit(2)
