"""Text that others chose, as errors repeat it and storage can hold it."""

import re

SHOWN_CHARACTERS = 64  # an error repeats no more of a value than this
NOT_TEXT = re.compile("[\0\ud800-\udfff]")  # what PostgreSQL and UTF-8 can't hold: NUL and lone surrogates


def shown(text: str) -> str:
    """Return the text as an error may repeat it: at most 64 characters, nothing that can't be stored."""
    text = NOT_TEXT.sub("?", text[: SHOWN_CHARACTERS + 1])
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
