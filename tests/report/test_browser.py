"""The report in a real browser: nothing overflows, and pictures stay readable on a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from growc.report.command import report
from tests.report.folders import Made, make_run
from tests.report.sweeps import MadeSweep, make_sweep

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

PAGE = """<!doctype html>
<iframe id="frame" width="{width}" height="9000" srcdoc="{page}"></iframe><pre id="found"></pre>
<script>
document.getElementById("frame").onload = event => {{
  const page = event.target.contentDocument;
  const shown = [...page.querySelectorAll("figure svg")].filter(svg => svg.getBoundingClientRect().width > 0);
  document.getElementById("found").textContent = JSON.stringify({{
    width: page.documentElement.scrollWidth,
    pictures: shown.length,
    scale: Math.min(...shown.map(svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)),
  }});
}};
</script>"""


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
@pytest.mark.parametrize("width", [400, 1100])
def test_the_page_fits(tmp_path: Path, width: int) -> None:
    runs = [make_run(tmp_path / name, replace(Made(steps=40), name=name)) for name in ("exclusive", "free")]
    _fits(report(runs, None), width, tmp_path, pictures=7)


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
@pytest.mark.parametrize("width", [400, 1100])
def test_the_page_of_a_sweep_fits(tmp_path: Path, width: int) -> None:
    """Long names, many arms: tables scroll, pictures do not shrink."""
    arms = tuple(f"free-with-a-rather-long-name-{i}" for i in range(7))
    run = make_sweep(tmp_path / "run", MadeSweep(arms=arms, steps=40, validations=8))
    _fits(report([run], None), width, tmp_path, pictures=4)


def _fits(path: Path, width: int, tmp_path: Path, *, pictures: int) -> None:
    assert BROWSER is not None
    page = path.read_text(encoding="utf-8")
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(PAGE.format(width=width, page=html.escape(page)), encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,2000", "--virtual-time-budget=10000",
        "--dump-dom", wrapper.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="found">(.*?)</pre>', dom)
    assert found is not None
    measured = json.loads(html.unescape(found[1]))
    assert measured["width"] <= width
    assert measured["pictures"] == pictures
    assert measured["scale"] > 0.8
