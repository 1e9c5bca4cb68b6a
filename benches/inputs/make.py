#!/usr/bin/env python3
"""The samples that models were calibrated on, made of files of this repository.

    pip install --no-deps --require-hashes -r examples/embed/requirements.txt
    python benches/inputs/make.py FOLDER

writes minilm.jsonl, tinylm.jsonl and smollm2.jsonl as they lie here, and magika.jsonl, which is larger than the model
deserves and is not kept: the first and last KiB of each file of examples/ and host-gpu/tests/data, as Magika takes them.
"""

import json
import subprocess
import sys
from pathlib import Path

from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
# Bytes at either end of a file, and what stands for a byte that is not there.
END, NOTHING = 1024, 256


def tokenizer(name: str) -> Tokenizer:
    made = Tokenizer.from_file(str(ROOT / "examples" / name / "tokenizer.json"))
    made.no_padding()
    made.no_truncation()
    return made


def chats(encoder: Tokenizer) -> list[list[int]]:
    """Each prompt of the generate example in SmolLM2's template."""
    samples = []
    for line in (ROOT / "examples/generate/data/prompts.jsonl").read_text().splitlines():
        item = json.loads(line) if line.startswith("{") else {"prompt": line}
        turns = [("system", item.get("system", SYSTEM)), ("user", item["prompt"])]
        text = "".join(f"<|im_start|>{who}\n{what}<|im_end|>\n" for who, what in turns)
        samples.append(encoder.encode(text + "<|im_start|>assistant\n").ids)
    return samples


def ends(content: bytes) -> list[int]:
    """What Magika looks at: both ends without white space, padded."""
    first = list(content[: 4 * END].lstrip()[:END])
    last = list(content[-4 * END :].rstrip()[-END:])
    return first + [NOTHING] * (END - len(first)) + [NOTHING] * (END - len(last)) + last


def files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "examples", "host-gpu/tests/data"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / name for name in sorted(listed.stdout.split())]


def main() -> None:
    folder = Path(sys.argv[1])
    lines = (ROOT / "examples/embed/data/lines.txt").read_text().splitlines()
    words, pieces = tokenizer("embed"), tokenizer("generate")
    verses = [ids[:24] for ids in (pieces.encode(line).ids for line in lines) if len(ids) >= 24]
    talk = chats(pieces)
    samples = {
        "minilm": ("input_ids", [words.encode(line).ids for line in lines[:128]]),
        "tinylm": ("input_ids", [list(line.encode()[:32]) for line in lines[:128]]),
        "smollm2": ("input_ids", talk + verses[: 64 - len(talk)]),
        "magika": ("bytes", [ends(path.read_bytes()) for path in files()]),
    }
    for name, (of, values) in samples.items():
        text = "".join(json.dumps({of: value}) + "\n" for value in values)
        (folder / f"{name}.jsonl").write_text(text)


if __name__ == "__main__":
    main()
