"""What comes from the folders of a sweep, as text in a page of HTML or Markdown that is shown as it is and nothing else."""

import re

from markupsafe import Markup

from wavecoder.runs.text import plain

_OF_MARKDOWN = re.compile(r"[\\`|<>]|!(?=\[)|\[(?!\d)|(?<=\])\(")
"""What begins code, cells, tags, pictures and links. Brackets around numbers are intervals and lists, and begin nothing."""


def as_html(value: object) -> object:
    """A value for a template that escapes HTML itself: in one line, without characters that cannot be seen."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else plain(value)


def as_markdown(value: object) -> object:
    """A value in one line of Markdown.

    Example:
        >>> print(as_markdown("a|b [here](x) <b>"))
        a\\|b \\[here]\\(x) \\<b\\>
    """
    return value if isinstance(value, Markup) or not isinstance(value, str) else _OF_MARKDOWN.sub(r"\\\g<0>", plain(value))


def as_code(text: str) -> Markup:
    """A text as code in a line of Markdown.

    Example:
        >>> print(as_code("a`b"))
        ``a`b``
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, room = "`" * (longest + 1), " " if text.startswith("`") or text.endswith("`") else ""
    return Markup(fence + room + plain(text) + room + fence)


def as_line(text: str) -> Markup:
    """A text as a line of a block of code in Markdown."""
    return Markup(plain(text))
