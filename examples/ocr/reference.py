#!/usr/bin/env python3
"""What RapidOCR reads in pictures, and how far a result of the `ocr` job is from it and from what stands there.

    python reference.py RESULT.jsonl [--pictures FOLDER] [--truth TRUTH.json]

Prints one JSON object. Spaces and ends of lines do not count: the model leaves out most narrow spaces, for whoever asks
it. Accuracy is 1 less the edits that make one text the other, for each character of the truth; agreement likewise
between the two readers. A box has a match if one of RapidOCR's covers it and little else (intersection over union of
0.7 and more). Exit status: 0, or 2 if something is wrong with the files.
"""

import argparse
import json
import sys
from pathlib import Path

from rapidocr_onnxruntime import RapidOCR

HERE = Path(__file__).resolve().parent
MATCH = 0.7
OCR_THREADS = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}


def edits(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def likeness(text: str, truth: str) -> float:
    """From what is written to what it should be; 1 is the same."""
    return max(0.0, 1 - edits(text, truth) / max(len(truth), 1)) if text or truth else 1.0


def solid(lines: list[str]) -> str:
    return "".join("".join(lines).split())


def overlap(one: list[float], other: list[float]) -> float:
    (left, top, right, bottom), (left2, top2, right2, bottom2) = [
        (min(box[::2]), min(box[1::2]), max(box[::2]), max(box[1::2])) for box in (one, other)
    ]
    common = max(0, min(right, right2) - max(left, left2)) * max(0, min(bottom, bottom2) - max(top, top2))
    return common / ((right - left) * (bottom - top) + (right2 - left2) * (bottom2 - top2) - common)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, help="the job's result")
    parser.add_argument("--pictures", type=Path, default=HERE / "data/pictures")
    parser.add_argument("--truth", type=Path, default=HERE / "data/truth.json")
    options = parser.parse_args()
    paths = sorted(options.pictures.iterdir(), key=lambda path: path.name.encode())
    records = [json.loads(line) for line in options.result.read_text(encoding="utf-8").splitlines()]
    if len(records) != len(paths):
        raise ValueError(f"the result has {len(records)} lines for {len(paths)} pictures")
    truth = json.loads(options.truth.read_text(encoding="utf-8"))
    reader = RapidOCR(**OCR_THREADS)
    pictures, boxes, matched = {}, 0, 0
    for path, record in zip(paths, records):
        found = reader(str(path))[0] or []
        theirs = [[float(at) for corner in box for at in corner] for box, _, _ in found]
        boxes += max(len(theirs), len(record["boxes"]))
        matched += sum(any(overlap(box, other) >= MATCH for other in theirs) for box in record["boxes"])
        ours, other, meant = solid(record["text"]), solid([text for _, text, _ in found]), solid(truth[path.name])
        pictures[path.name] = {
            "characters": len(meant),
            "accuracy": likeness(ours, meant),
            "accuracy_of_reference": likeness(other, meant),
            "agreement": likeness(ours, other),
        }
    characters = sum(picture["characters"] for picture in pictures.values())
    mean = lambda key: sum(picture[key] * picture["characters"] for picture in pictures.values()) / characters
    keys = ("accuracy", "accuracy_of_reference", "agreement")
    whole = {key: mean(key) for key in keys} | {"characters": characters, "boxes": boxes, "boxes_matched": matched}
    print(json.dumps(whole | {"pictures": pictures}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError) as error:
        print(f"reference.py: {error!r}", file=sys.stderr)
        sys.exit(2)
