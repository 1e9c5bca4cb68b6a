#!/usr/bin/env python3
"""What the `generate` job should write, computed without any of Assay, and whether a result is that.

    pip install --no-deps --require-hashes -r ../embed/requirements.txt
    python reference.py RESULT.jsonl               compare a result of job.toml, print one JSON object
    python reference.py --write REFERENCE.json     write the reference itself
    python reference.py --job tinylm.toml ...      the same for another manifest

One prompt at a time, with nothing padded and nothing cut into pieces, the likeliest token each time; an item that wants
to be sampled is refused. A reference says how near the likeliest token ever was to the next one (`least_margin`): far
above the 1e-5 or so by which another order of additions moves a logit, its tokens are those of any correct machine.

Exit status: 0 if every token agrees, 1 if one does not, 2 for anything else.
"""

import argparse
import json
import os
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers

HERE = Path(__file__).resolve().parent
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
NEW_TOKENS = 64


class Chat:
    """SmolLM2: its own chat template, its own tokenizer."""

    def __init__(self):
        self.tokenizer = tokenizers.Tokenizer.from_file(str(HERE / "tokenizer.json"))
        self.stops = [self.tokenizer.token_to_id(token) for token in ("<|endoftext|>", "<|im_end|>")]

    def encode(self, item: dict) -> list[int]:
        turns = [("system", item.get("system", SYSTEM)), ("user", item["prompt"])]
        text = "".join(f"<|im_start|>{who}\n{what}<|im_end|>\n" for who, what in turns)
        return self.tokenizer.encode(text + "<|im_start|>assistant\n", add_special_tokens=False).ids

    def decode(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=False)


class Bytes:
    """tinylm: a byte is a token."""

    stops: list[int] = []

    def encode(self, item: dict) -> list[int]:
        return list(item["prompt"].encode())

    def decode(self, tokens: list[int]) -> str:
        return bytes(tokens).decode(errors="replace")


VOCABULARIES = {"smollm2-135m-instruct": Chat, "tinylm": Bytes}


class Job:
    """What a manifest names."""

    def __init__(self, path: Path):
        manifest = tomllib.loads(path.read_text(encoding="utf-8"))
        (model,) = manifest["model"]
        self.digest, source = model["digest"], Path(model["source"])
        home = Path(os.environ.get("ASSAY_HOME") or Path.home() / ".cache/assay")
        places = [path.parent / source, home / source]
        self.model = next((place for place in places if place.is_file()), None)
        if self.model is None:
            raise ValueError(f"there is no {places[1]}; `cargo xtask setup --generate` makes it")
        self.vocabulary = VOCABULARIES[model["name"]]()
        self.input = manifest["input"]["path"]
        lines = (path.parent / self.input).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        self.items = [json.loads(line) if line.startswith("{") else {"prompt": line} for line in lines]
        if any(item.get("temperature", 0) > 0 for item in self.items):
            raise ValueError(f"{self.input} has an item with a temperature above 0; the reference is greedy")


class Model:
    def __init__(self, path: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = [port for port in self.session.get_inputs() if port.name.startswith("past_key_values.")]
        self.empty = {port.name: np.zeros((1, port.shape[1], 0, port.shape[3]), np.float32) for port in inputs}
        self.outputs = ["logits"] + [name.replace("past_key_values", "present") for name in self.empty]

    def start(self):
        self.caches, self.past = dict(self.empty), 0

    def read(self, tokens: list[int]) -> np.ndarray:
        """The logits after these tokens."""
        total = self.past + len(tokens)
        positions = np.arange(self.past, total, dtype=np.int64)[None]
        inputs = {"input_ids": np.array([tokens], np.int64), "position_ids": positions}
        mask = np.ones((1, total), np.int64)
        logits, *caches = self.session.run(self.outputs, {**inputs, "attention_mask": mask, **self.caches})
        self.caches, self.past = dict(zip(self.empty, caches)), total
        return logits[0, -1]


def write_one(item: dict, model: Model, vocabulary) -> dict:
    prompt = vocabulary.encode(item)
    stop_tokens = [*vocabulary.stops, *item.get("stop_tokens", [])]
    most, stops = item.get("max_new_tokens", NEW_TOKENS), item.get("stop", [])
    tokens, margin, finish, text = [], float("inf"), "length", ""
    model.start()
    logits = model.read(prompt)
    while True:
        second, first = np.partition(logits, -2)[-2:]
        margin = min(margin, float(first - second))
        token = int(logits.argmax())
        if token in stop_tokens:
            finish = "stop"
            break
        tokens.append(token)
        text = vocabulary.decode(tokens)
        ends = [text.index(stop) for stop in stops if stop in text]
        if ends:
            finish, text = "stop", text[: min(ends)]
            break
        if len(tokens) == most:
            break
        logits = model.read([token])
    return {"text": text, "tokens": tokens, "prompt_tokens": len(prompt), "finish": finish, "margin": round(margin, 5)}


def write_all(job: Job) -> list[dict]:
    model = Model(job.model)
    return [write_one(item, model, job.vocabulary) for item in job.items]


def compare(result: list[dict], reference: list[dict]) -> dict:
    if len(result) != len(reference):
        raise ValueError(f"the result has {len(result)} outputs for {len(reference)} items")
    keys = ["text", "tokens", "prompt_tokens", "finish"]
    equal = [all(ours.get(key) == theirs[key] for key in keys) for ours, theirs in zip(result, reference)]
    return {
        "items": len(reference),
        "tokens": sum(len(output["tokens"]) for output in reference),
        "equal_items": sum(equal),
        "first_difference": equal.index(False) if False in equal else None,
        "least_margin": min(output["margin"] for output in reference),
        "agrees": all(equal),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", nargs="?", type=Path, help="the job's result, JSON lines")
    parser.add_argument("--write", type=Path, help="write the reference here")
    parser.add_argument("--job", type=Path, default=HERE / "job.toml", help="the manifest")
    options = parser.parse_args()
    if not options.result and not options.write:
        parser.error("give a result to compare, or --write")
    job = Job(options.job)
    reference = write_all(job)
    if options.write:
        lines = [json.dumps(output, ensure_ascii=False) for output in zip(job.items, reference)]
        lines = ",\n".join(lines)
        head = f'"model": {json.dumps(job.digest)},\n"input": {json.dumps(job.input)}'
        least = min(output["margin"] for output in reference)
        options.write.write_text(f'{{{head},\n"least_margin": {least},\n"items": [\n{lines}\n]}}\n', encoding="utf-8")
    if not options.result:
        return 0
    result = [json.loads(line) for line in options.result.read_text(encoding="utf-8").splitlines()]
    summary = compare(result, reference)
    print(json.dumps(summary))
    return 0 if summary["agrees"] else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError) as error:
        print(f"reference.py: {error}", file=sys.stderr)
        sys.exit(2)
