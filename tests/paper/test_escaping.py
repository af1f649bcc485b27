"""Names that a sweep from elsewhere holds are text in its report, on a terminal and in summary.csv, and nothing else."""

import csv
import io
import logging
import re
from pathlib import Path

import pytest
from made_up_jobs import made_up_job
from rich.console import Console
from test_made_up_reports import write_job

from wavecoder.paper.escaping import as_code, as_html, as_markdown
from wavecoder.paper.report import write_report
from wavecoder.runs import results
from wavecoder.runs.screen import PlainFormatter
from wavecoder.runs.tables import sweep_table, write_summary
from wavecoder.runs.text import plain

HOSTILE = "<img/src=x\tonerror=alert(1)>|`![p](http://x)[link=http://y]z[/link]\n# head\x1b[31m\x07\r\u202etxt"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202e]")


@pytest.mark.slow
def test_a_report_shows_names_as_they_are(tmp_path: Path) -> None:
    sweep = tmp_path / "sw|eep`<b>"
    write_job(sweep, "relu", 1)
    job = sweep / write_job(sweep, "tanh", 5, activation=HOSTILE, versions={HOSTILE: HOSTILE})
    record = results.read_record(job)
    results.write_results(job, {key: each for key, each in record.items() if key != "job"} | {"network": f"tanh {HOSTILE}"})
    write_job(sweep, "mynet", 5, status="failed", error=HOSTILE)
    write_report(sweep)
    page = (sweep / "report.html").read_text()
    assert "<img/src" not in page
    assert "&lt;img/src" in page
    lines = (sweep / "report.md").read_text()
    assert "<img/src" not in lines.replace("\\<img/src", "")
    assert not re.search(r"(?<!\\)!\[p\]|\n# head", lines)
    for text in (page, lines):
        assert not OBEYED.search(text)
        assert "\\x1b[31m" in text
    tables = re.findall(r"(?:^\|.*\n)+", lines, flags=re.MULTILINE)
    assert any("| tanh" in table for table in tables)
    for table in tables:  # a name adds no column
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_a_terminal_obeys_no_name(tmp_path: Path) -> None:
    jobs = [made_up_job(f"job{number}", "relu", overrides={"activation": f"{HOSTILE}{number}"}) for number in range(2)]
    jobs.append({"job": HOSTILE, "overrides": {}, "status": "failed", "error": HOSTILE})
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    sweep_table(jobs).print(console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert not OBEYED.search(printed)
    assert "[link=http://y]z[/link]" in printed
    record = logging.LogRecord("wavecoder", logging.INFO, __file__, 1, "%s", (HOSTILE,), None)
    assert not OBEYED.search(PlainFormatter().format(record))
    assert plain("café → 1 %\t\ud800") == "café → 1 %\t\\ud800"


def test_a_spreadsheet_computes_no_name(tmp_path: Path) -> None:
    values = {"=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0", "@SUM(1)": "'@SUM(1)", "-x": "'-x", "-1e-3": "-1e-3", "a": "a"}
    jobs = [made_up_job(f"job{number}", "relu", overrides={"mine": value}) for number, value in enumerate(values)]
    with write_summary(tmp_path, jobs).open(newline="") as file:
        assert [row["mine"] for row in csv.DictReader(file)] == list(values.values())


@pytest.mark.parametrize(
    ("text", "code"),
    [("a", "`a`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("a\nb", "`a\\nb`")],
    ids=["plain", "one", "only", "line"],
)
def test_code_in_markdown_ends_where_it_should(text: str, code: str) -> None:
    assert str(as_code(text)) == code
    assert as_markdown(as_code(text)) == as_html(as_code(text)) == code


def test_intervals_and_lists_stay_readable() -> None:
    assert as_markdown("[0.1, 0.2] of model.widths=[50,25]") == "[0.1, 0.2] of model.widths=[50,25]"
    assert as_markdown("[1](http://x)") == "[1]\\(http://x)"
    assert as_markdown(3) == 3
