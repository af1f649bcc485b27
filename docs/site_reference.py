"""A Sphinx extension: the directive `configuration`, a reference of conf/ made of what its files say of their own keys.

It also mends the links of pages that include a file beside the README, so that they work from docs/ too.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "benchmarks/results.md": "benchmarks.md"}
"""Files outside of docs/ that are pages of the site too."""


class Key(NamedTuple):
    """A key that an option sets."""

    name: str
    value: str
    comment: str


class Option(NamedTuple):
    """A file of conf/."""

    group: str
    name: str
    description: str
    chosen: list[str]
    keys: list[Key]


def options() -> dict[str, list[Option]]:
    """All options of conf/, by group; not of groups that conf/train.yaml chooses from for good."""
    own = re.findall(r"^  - override ([\w/]+):", (CONF / "train.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    groups: dict[str, list[Option]] = {}
    for file in sorted(
        CONF.rglob("*.yaml"), key=lambda file: (file.parent, len(file.stem) if file.stem.isdigit() else 0, file.stem)
    ):
        group = str(file.parent.relative_to(CONF))
        if group not in (".", *own):
            groups.setdefault(group, []).append(read_option(file))
    return groups


def read_option(file: Path) -> Option:
    """One file: what its first comment says, the options it chooses, and its keys."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    group = str(file.parent.relative_to(CONF)) if file.parent != CONF else ""
    header = [line.removeprefix("#").strip() for line in lines[: _first(lines)]]
    package = group.replace("/", ".")
    if header[:1] == ["@package _global_"]:
        package, header = "", header[1:]
    root = yaml.compose(text)
    keys = [key for key in _keys(root, package, lines) if not re.search(r"(^|\.)defaults$", key.name)]
    return Option(group, file.stem, " ".join(header), list(_chosen(yaml.safe_load(text), group)), keys)


def _first(lines: Sequence[str]) -> int:
    return next(number for number, line in enumerate(lines) if not line.startswith("#"))


def _keys(node: yaml.Node | None, prefix: str, lines: Sequence[str]) -> Iterator[Key]:
    """The keys below a mapping, with the comments of their lines."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        name = f"{prefix}.{key.value}".lstrip(".")
        is_nested = isinstance(value, yaml.MappingNode) and not value.flow_style
        if is_nested and name != "defaults":
            yield from _keys(value, name, lines)
            continue
        end = key.end_mark if value.start_mark.line > key.start_mark.line else value.end_mark
        line = lines[end.line] if end.line < len(lines) else ""
        comment = re.search(r"(?:^|\s)#\s*(.*)$", line[end.column :])
        yield Key(name, _source(value, lines), comment[1] if comment else "")


def _source(node: yaml.Node, lines: Sequence[str]) -> str:
    """A value as it stands in the file; of a text over several lines its first words."""
    start, end = node.start_mark, node.end_mark
    return lines[start.line][start.column : end.column].strip() if start.line == end.line else "…"


def _chosen(content: Any, group: str) -> Iterator[str]:
    """What a file's list of defaults chooses, as on the command line."""
    for default in (content or {}).get("defaults", []):
        if isinstance(default, dict):
            for name, option in default.items():
                yield f"{name.removeprefix('override ').removeprefix('/')}={option}"
        elif default != "_self_":
            yield f"{group}={default}"


def purposes() -> dict[str, tuple[str, str]]:
    """Of each group that conf/train.yaml chooses from, its default and what the comment there says."""
    found = re.findall(r"^  - ([\w/]+): (\S+)\s+# (.*)$", (CONF / "train.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    return {group: (option.strip('"'), comment) for group, option, comment in found}


def configuration_page() -> str:
    """The reference of all groups, options and keys, as Markdown."""
    groups, meaning = options(), purposes()
    train = read_option(CONF / "train.yaml")
    own = [key for key in train.keys if not key.name.startswith("hydra.")]
    of_hydra = [key for key in train.keys if key.name.startswith("hydra.")]
    parts = ["## The run", "Keys that belong to no group, in `conf/train.yaml`.", _table(own)]
    for group in [*(group for group in meaning if group in groups), *(group for group in groups if group not in meaning)]:
        default, purpose = meaning.get(group, ("", ""))
        parts.append(f"## {group}")
        if purpose:
            chosen = "none is chosen by default" if default == "null" else f"the default is `{group}={default}`"
            parts.append(f"{purpose[0].upper()}{purpose[1:]}; {chosen}.")
        plain = [option for option in groups[group] if not option.description and not option.chosen]
        if plain:
            parts.append(_table_of_options(plain))
        for option in groups[group]:
            if option not in plain:
                parts += [f"### {group}={option.name}", option.description, _sentence(option), _table(option.keys)]
    parts += ["## hydra", "What is said to Hydra itself, in `conf/train.yaml`.", _table(of_hydra)]
    return "\n\n".join(part for part in parts if part)


def _sentence(option: Option) -> str:
    """What an option takes from others, in words."""
    same = [choice for choice in option.chosen if choice.startswith(f"{option.group}=")]
    others = [choice for choice in option.chosen if choice not in same]
    return " ".join(
        f"{word} {', '.join(f'`{choice}`' for choice in choices)}."
        for word, choices in (("Has all of", same), ("Chooses", others))
        if choices
    )


def _table(keys: Sequence[Key]) -> str:
    if not keys:
        return ""
    return "\n".join(["| key | value | meaning |", "|---|---|---|", *(f"| {_cells(key)} |" for key in keys)])


def _table_of_options(group: Sequence[Option]) -> str:
    """Several options, with their keys less the name of the group, which stands above the table."""
    prefix = group[0].group.replace("/", ".") + "."
    lines = [f"| option | key `{prefix}…` | value | meaning |", "|---|---|---|---|"]
    for option in group:
        names = [f"`{option.group}={option.name}`", *[""] * (len(option.keys) - 1)]
        keys = [key._replace(name=key.name.removeprefix(prefix)) for key in option.keys]
        lines += [f"| {name} | {_cells(key)} |" for name, key in zip(names, keys, strict=True)]
    return "\n".join(lines)


def _cells(key: Key) -> str:
    """The cells of a key; what looks like keys, paths and flags in its comment is set as code."""
    comment = re.sub(r"(?<![`\w])(\w+(?:[./]\w+)+=?\w*|-m|null)(?![`\w])", r"`\1`", key.comment)
    return " | ".join(cell.replace("|", r"\|") for cell in (f"`{key.name}`", f"`{key.value}`", comment))


class Configuration(SphinxDirective):
    """The configuration reference."""

    def run(self) -> list[nodes.Node]:
        for file in CONF.rglob("*.yaml"):
            self.env.note_dependency(str(file))
        return self.parse_text_to_nodes(configuration_page(), allow_section_headings=True)


def _moved(content: str, prefix: str) -> str:
    """The text of a page with its links as the site has them; `prefix` leads from docs/ to where its links begin."""

    def new(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        if prefix and target.startswith("docs/"):
            return f"]({target.removeprefix('docs/')}{anchor})"
        path = f"{prefix}{target}"
        return f"]({PAGES.get(path.removeprefix('../'), path) if path.startswith('../') else path}{anchor})"

    return re.sub(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)", new, content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("configuration", Configuration)

    def page_read(_: Sphinx, name: str, content: list[str]) -> None:
        content[0] = _moved(content[0], "")

    def file_included(_: Sphinx, file: Path, page: str, content: list[str]) -> None:
        content[0] = _moved(content[0], "../")

    app.connect("source-read", page_read)
    app.connect("include-read", file_included)
    return {"parallel_read_safe": True}
