"""The site of the documentation, whose build is strict and whose pages fit a phone, and the files for GitHub."""

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from browser import IN_A_BROWSER, Browser, browser, open_page, problems  # noqa: F401 - a fixture
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from processes import ROOT

import wavecoder

DOCS = ROOT / "docs"
MAKE_DOCS = re.search(r"^docs:.*\n\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
PICTURES = sorted(path.name for path in DOCS.glob("*.png"))


def build(folder: Path, docs: Path = DOCS) -> subprocess.CompletedProcess[str]:
    """What `make docs` does, in other folders."""
    assert MAKE_DOCS is not None
    words = MAKE_DOCS[1].split()
    assert words[-2:] == ["docs", "docs/_build"]
    program = str(Path(sys.executable).parent / words[0])
    return subprocess.run(
        [program, *words[1:-2], "-d", f"{folder}-doctrees", str(docs), str(folder)], capture_output=True, text=True, check=False
    )


def test_every_key_of_the_configuration_is_explained_in_the_reference() -> None:
    sys.path.insert(0, str(DOCS))
    try:
        module = runpy.run_path(str(DOCS / "site_reference.py"))
    finally:
        sys.path.remove(str(DOCS))
    page = module["configuration_page"]()
    groups = {path.relative_to(ROOT / "conf").parent.as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    assert {"activation", "data", "hydra/launcher", "experiment"} < groups
    for group, options in module["options"]().items():
        assert f"\n## {group}\n" in page
        for option in options:
            content = yaml.safe_load((ROOT / "conf" / group / f"{option.name}.yaml").read_text())
            assert len(option.keys) >= len(content.keys() - {"defaults", "hydra"}), "none is left out"
            for key in option.keys:
                assert key.comment or key.name.startswith("hydra."), f"{group}={option.name}: {key.name} has no comment"
    assert "| `num_seeds` | `1` | seeds trained at once, from `seed` upwards, each as if it ran alone |" in page
    assert "| `activation=leaky_relu` | `_target_` | `torch.nn.LeakyReLU` | max(0, x) + negative_slope · min(0, x) |" in page
    assert "Has all of `data=paper`." in page
    assert "Chooses `activation=identity`." in page


def test_every_public_name_is_on_its_page() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto\w+:: wavecoder\.(?:\w+\.)*(\w+)$", page, re.MULTILINE)
    assert set(wavecoder.__all__) - {"__version__"} <= set(named)
    assert len(named) == len(set(named))


def test_pictures_are_on_a_page_and_drawn_by_make_pictures() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *DOCS.glob("*.md")))
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile[makefile.index("\npictures:") :].partition("\n\n")[0]
    drawn = {f"{name}.png" for name in runpy.run_path(str(DOCS / "pictures.py"))["PICTURES"]}
    drawn |= {f"your-data-{name}.png" for name in runpy.run_path(str(DOCS / "your_data.py"))["PICTURES"]}
    drawn |= {
        f"tensorboard-{name}.png"
        for name in re.findall(r"keep\(page, \"(\w+)\"\)", (DOCS / "tensorboard_pictures.py").read_text())
    }
    drawn.add("report.png")
    for name in PICTURES:
        assert re.search(rf"!\[[^\]]{{20,}}\]\((docs/)?{name}\)", pages), f"{name} is on no page, or has no description"
        assert name in drawn or name in recipe or name == "scaling.png", name
        assert (DOCS / name).stat().st_size < 300_000
    assert "scaling" in recipe.splitlines()[1]
    assert "docs/pictures.py" in recipe
    assert "docs/your_data.py" in recipe
    assert "docs/tensorboard_pictures.py" in recipe
    assert "docs/report_picture.py" in recipe


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_files_for_github_have_their_schemas(schema: str, files: str) -> None:
    found = [str(path) for path in ROOT.glob(files)]
    assert found
    done = CliRunner().invoke(check_jsonschema, ["--builtin-schema", f"vendor.{schema}", *found])
    assert done.exit_code == 0, done.output


def test_the_version_is_one() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]) == version
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[:2] == ["Unreleased", version]
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", changes, re.MULTILINE)) <= kinds


def test_the_release_publishes_what_was_tried() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    assert jobs["publish"]["needs"] == "try"
    assert set(jobs["try"]["needs"]) == {"compiled", "pure"}
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "refs/tags/v" in jobs["publish"]["if"]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["[gone](gone.md)", "[gone](paper.md#gone)", "![gone](gone.png)", "[gone](#gone)"])
def test_a_broken_link_fails(mistake: str, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    pages = (DOCS / name for name in ("conf.py", "site_reference.py", "paper.md", "runs.md", "reliability.md"))
    for file in (*pages, *DOCS.glob("*.png")):
        shutil.copy(file, docs)
    link = re.compile(r"\[([^\]]*)\]\((?:clusters\.md|configuration\.md|\.\./tests/)[^)]*\)")
    for name in ("runs.md", "reliability.md"):
        page = docs / name
        page.write_text(link.sub(r"\1", page.read_text(encoding="utf-8")), encoding="utf-8")
    start = "# Site\n\n```{toctree}\npaper\nruns\nreliability\n```\n"
    (docs / "index.md").write_text(start)
    assert build(tmp_path / "good", docs).returncode == 0
    (docs / "index.md").write_text(f"{start}\n{mistake}\n")
    done = build(tmp_path / "bad", docs)
    assert done.returncode != 0
    assert "gone" in done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site") / "html"
    done = build(folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    yield folder
    shutil.rmtree(folder)


class TestInABrowser:
    pytestmark = IN_A_BROWSER

    @pytest.mark.parametrize("width", [1280, 390])
    def test_pages_fit_and_have_their_pictures(self, browser: Browser, site: Path, width: int) -> None:  # noqa: F811
        pages = sorted(path for path in site.glob("*.html") if path.stem not in ("search", "genindex", "py-modindex"))
        assert len(pages) >= 12
        for path in pages:
            with open_page(browser, width=width) as page:
                found = problems(page)
                page.goto(path.as_uri())
                assert found == [], path.name
                assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
                assert page.evaluate("[...document.images].filter(image => !image.naturalWidth || !image.alt).length") == 0

    def test_keys_and_names_are_found(self, browser: Browser, site: Path) -> None:  # noqa: F811
        with open_page(browser) as page:
            page.goto((site / "configuration.html").as_uri())
            assert page.get_by_text("decides training set, validation set").count() == 1
            page.goto((site / "api.html").as_uri())
            assert page.locator("dt#wavecoder\\.load").is_visible()
            page.goto((site / "index.html").as_uri())
            page.get_by_role("link", name="performance", exact=True).last.click()
            assert page.url.endswith("performance.html")
