"""How Sphinx builds these pages: `make docs`, which fails on any warning, broken links between pages and anchors included."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for site_reference

project = "wavecoder"
author = "The wavecoder authors"
project_copyright = "2026, The wavecoder authors"
version = release = version_of("wavecoder")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "site_reference"]
exclude_patterns = ["_build"]
default_role = "code"  # `names` in docstrings
html_theme = "furo"
html_title = f"wavecoder {release}"
html_show_sphinx = False
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

myst_heading_anchors = 4  # the anchors that GitHub gives to headings

nitpicky = True
nitpick_ignore_regex = [
    # libraries of others: their pages would have to be fetched at every build
    (r"py:.*", r"(torch|numpy|pandas|matplotlib|lightning|omegaconf|jaxtyping|pathlib|collections|typing)\..*"),
    (r"py:.*", r"wavecoder\.(runs\.saved\.SavedRun|runs\.rows\.Array|scaling\.Scaled)"),  # internal
    (r"py:.*", r"'?[a-zA-Z]+( [a-zA-Z]+)*'?"),  # names of Python itself, and of types in our own annotations
]
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
