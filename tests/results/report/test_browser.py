"""report.html in a real browser, where one is installed: no errors, cells that open, columns that sort."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lit_cnn.results.report.page import write_report
from tests.results.report.test_page import make_run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCRIPT = """
<script>
window.failed = [];
addEventListener("error", (event) => failed.push(event.message));
addEventListener("load", () => {
  const found = { failed, canvases: document.querySelectorAll(".chart canvas").length };
  document.querySelector('button[data-cell="0,1"]').click();
  const dialog = document.getElementById("cell");
  found.open = dialog.open;
  found.title = document.getElementById("cell-title").textContent;
  found.files = [...dialog.querySelectorAll(".file")].map((each) => each.textContent);
  found.pictures = [...dialog.querySelectorAll("img")].map((each) => [each.alt, each.naturalWidth]);
  dialog.close();
  const rows = () => [...document.querySelectorAll("#classes tbody th")].map((each) => each.textContent);
  const heads = document.querySelectorAll("#classes thead button");
  heads[2].click();
  found.up = rows();
  heads[2].click();
  found.down = rows();
  found.sorted = heads[2].parentNode.getAttribute("aria-sort");
  found.unnamed = [...document.querySelectorAll("img:not([alt]), button:empty:not([aria-label])")].length;
  document.documentElement.innerHTML = "<body><pre>" + JSON.stringify(found).replaceAll("<", "&lt;") + "</pre></body>";
});
</script></head>
"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium")
def test_cells_open_their_images_and_columns_sort_in_a_browser(tmp_path: Path):
    run = make_run(tmp_path)
    html = write_report(run)[0].read_text()
    page = tmp_path / "page.html"
    page.write_text(html.replace("</head>", SCRIPT, 1))
    words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    words += ["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", f"file://{page}"]
    done = subprocess.run([str(BROWSER), *words], capture_output=True, text=True, timeout=100, check=True)
    shown = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert shown is not None, done.stdout[-2000:]
    found = json.loads(shown[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert found == {
        "failed": [],
        "canvases": 3,
        "open": True,
        "title": "<b>rose</b> predicted as tulip: 2 images",
        "files": ["x/00.jpg", "x/03.jpg"],
        "pictures": [["x/00.jpg", 20]],
        "up": ["<b>rose</b>", "tulip", "daisy"],
        "down": ["tulip", "daisy", "<b>rose</b>"],
        "sorted": "descending",
        "unnamed": 0,
    }
