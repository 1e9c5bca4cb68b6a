"""Tells what kind of file each item is, as Magika does: a small model looks at the first and the last kilobyte."""

import json
from pathlib import Path

import assay

# Read once, when the component is built: a job has no files.
LABELS = json.loads(Path(__file__).with_name("labels.json").read_text())

# What the model reads of a file: so many bytes from each end of blocks of this size, white space left out.
END = 1024
BLOCK = 4096
# Stands where a file is too short. Other numbers are bytes.
PADDING = 256
# Below this length the model has nothing to go by.
LENGTH_MIN = 8
# A kind needs at least this score, or the one that the table has for it.
SCORE_MIN = 0.5


@assay.each
def run(item):
    data = item.data
    if not data:
        return {"kind": "empty", "score": 1.0}
    if len(data) < LENGTH_MIN:
        return {"kind": generic(is_utf8(data)), "score": 1.0}
    scores = ask(features(data))
    best = max(range(len(scores)), key=scores.__getitem__)
    return {"kind": named(LABELS["labels"][best], scores[best]), "score": round(scores[best], 4)}


def features(data):
    """The 2,048 numbers that the model takes."""
    first = data[:BLOCK].lstrip()[:END]
    last = data[-BLOCK:].rstrip()[-END:]
    padding = [PADDING]
    return [*first, *padding * (END - len(first)), *padding * (END - len(last)), *last]


def ask(numbers):
    given = assay.Tensor("i32", [1, len(numbers)], numbers)
    answer = assay.model("magika").run({"bytes": given})
    return answer["target_label"].values


def named(label, score):
    """The model's answer, or a word for what it is not sure of."""
    sure = score >= LABELS["thresholds"].get(label, SCORE_MIN)
    return LABELS["overwrite"].get(label, label) if sure else generic(label in LABELS["text"])


def generic(is_text):
    return "txt" if is_text else "unknown"


def is_utf8(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
