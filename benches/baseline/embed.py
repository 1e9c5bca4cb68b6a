#!/usr/bin/env python3
"""Sentence embeddings in Python, timed: the benchmarks' baseline.

    embed.py MODEL     with tokenizer.json and lines.txt beside this file

Reads `FROM COUNT BATCH` a line, embeds COUNT lines from line FROM on, BATCH to a run, and answers with the nanoseconds
it took.
"""

import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers

HERE = Path(__file__).resolve().parent
MAX_TOKENS = 128


def main() -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(HERE / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    lines = (HERE / "lines.txt").read_text(encoding="utf-8").splitlines()

    def embed(batch: list[str]) -> np.ndarray:
        rows = [encoding.ids for encoding in tokenizer.encode_batch(batch)]
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (states,) = session.run(["last_hidden_state"], inputs)
        weights = mask[:, :, None].astype(np.float64)
        means = (states.astype(np.float64) * weights).sum(axis=1) / weights.sum(axis=1)
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    for request in sys.stdin:
        first, count, batch = map(int, request.split())
        wanted = lines[first : first + count]
        start = time.perf_counter_ns()
        for at in range(0, len(wanted), batch):
            embed(wanted[at : at + batch])
        print(time.perf_counter_ns() - start, flush=True)


main()
