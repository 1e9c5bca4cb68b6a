"""The job: each line in upper case."""

import assay


@assay.each
def run(item):
    """Answers one item with a str, bytes, or anything that JSON can spell.

    An error fails the shard, alike on every replica, so it should name what is at fault.
    """
    text = item.text()
    if not text.strip():
        raise assay.BadInput("the line is empty")
    return text.upper()
