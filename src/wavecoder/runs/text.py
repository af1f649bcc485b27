"""Text that others have written, as names and messages in files, as it can be shown."""

import re

# what moves the cursor, reorders text or cannot be encoded: control characters but the tab, directions, halves of characters
_NOT_PLAIN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Text as one line that shows on a terminal or a page what it holds, and does nothing else.

    Example:
        >>> plain("red\\x1b[31m")
        'red\\\\x1b[31m'
    """
    return _NOT_PLAIN.sub(lambda found: repr(found[0])[1:-1], text)


def plain_lines(text: str) -> str:
    """Text as `plain` makes it, in the lines that it has."""
    return "\n".join(map(plain, text.split("\n")))
