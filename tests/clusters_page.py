"""The commands of docs/clusters.md, taken out of the page itself."""

import re
import shlex

from conftest import ROOT

PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")


def code_lines(page: str) -> list[str]:
    """The lines of all fenced and indented code blocks; those that end in a backslash are joined with the next."""
    lines, fenced = [], False
    for line in page.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip())
    return "\n".join(lines).replace("\\\n", "").splitlines()


def code_in_prose(page: str) -> list[str]:
    """What stands between backticks in the text and may be a command: a word in small letters, a space and more."""
    prose = re.sub(r"^(    .*|```.*)$", "", page, flags=re.MULTILINE)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))
    return [span for span in spans if re.match(r"[a-z]+ ", span)]


def commands(line: str) -> list[list[str]]:
    """The words of every command `wavecoder …` in a line, also of one that is handed to another shell."""
    if "wavecoder " not in line:
        return []
    words = [word for word in shlex.split(line, comments=True) if word != "…"]
    nested = [found for word in words if " " in word for found in commands(word)]
    return nested or ([words[words.index("wavecoder") + 1 :]] if "wavecoder" in words else [])
