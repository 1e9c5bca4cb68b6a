#!/usr/bin/env python3
"""What the package `magika` says of files, and how far a result of the `sniff` job is from it.

    python reference.py RESULT.jsonl FOLDER   compare, print one JSON object

Exit status: 0 if at least 99 of 100 labels are the same, 1 if not, 2 for anything else.
"""

import argparse
import json
import sys
from pathlib import Path

from magika import Magika

AGREEMENT_MIN = 0.99


def ask(paths: list[Path]) -> list[dict]:
    magika = Magika()
    answers = []
    for path in paths:
        # One file a run, as in the guest.
        prediction = magika.identify_bytes(path.read_bytes()).prediction
        output = prediction.output
        answers.append({"label": str(output.label), "group": output.group, "mime": output.mime_type, "score": prediction.score})
    return answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, help="the job's result")
    parser.add_argument("folder", type=Path, help="the files, as the job took them")
    options = parser.parse_args()
    # The order in which the job takes the files of a folder.
    paths = sorted(options.folder.iterdir(), key=lambda path: path.name.encode())
    expected = ask(paths)
    lines = options.result.read_text(encoding="utf-8").splitlines()
    if len(lines) != len(paths):
        raise ValueError(f"the result has {len(lines)} lines for {len(paths)} files")
    got = [json.loads(line) for line in lines]
    same = [one["label"] == other["label"] for one, other in zip(got, expected)]
    words = [all(one[key] == other[key] for key in ("label", "group", "mime")) for one, other in zip(got, expected)]
    agreement = sum(same) / len(same)
    summary = {
        "files": len(paths),
        "labels": len({answer["label"] for answer in expected}),
        "agreement": agreement,
        "same_label_group_and_mime": sum(words) / len(words),
        "max_score_diff": max(abs(one["score"] - other["score"]) for one, other in zip(got, expected)),
        "differ": [[path.name, one, other] for path, one, other, ok in zip(paths, got, expected, words) if not ok][:20],
    }
    print(json.dumps(summary))
    return 0 if agreement >= AGREEMENT_MIN else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError) as error:
        print(f"reference.py: {error}", file=sys.stderr)
        sys.exit(2)
