"""The page in a real browser, where one is installed: a picture is chosen, answered, explained; another dropped."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import uvicorn

from lit_cnn.serve import app as serving
from lit_cnn.serve.app import ModelFacts, build_app
from lit_cnn.serve.limits import Limits
from lit_cnn.serve.pages import PAGES

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TOKEN = "a-token-of-many-signs"
SCRIPT = """
const failed = [];
addEventListener("error", (event) => failed.push(event.message));
document.addEventListener("securitypolicyviolation", (event) => failed.push(event.violatedDirective));
const until = async (holds) => { while (!holds()) await new Promise((done) => setTimeout(done, 20)); };
async function choose(file) {
  const chosen = new DataTransfer();
  chosen.items.add(file);
  const input = document.getElementById("file");
  input.files = chosen.files;
  input.dispatchEvent(new Event("change"));
}
async function run() {
  const found = { failed };
  await until(() => !document.getElementById("token-form").hidden);
  document.getElementById("token").value = "TOKEN";
  document.getElementById("token-form").requestSubmit();
  await until(() => document.getElementById("model").textContent);
  found.model = document.getElementById("model").textContent;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 40;
  canvas.getContext("2d").fillRect(5, 5, 20, 10);
  const blob = await new Promise((done) => canvas.toBlob(done));
  await choose(new File([blob], "<b>x</b>.png", { type: "image/png" }));
  await until(() => document.querySelector("article img")?.naturalWidth);
  const card = document.querySelector("article");
  found.label = card.getAttribute("aria-label");
  found.classes = card.querySelectorAll("button.class").length;
  found.bars = [...card.querySelectorAll(".bar span")].every((each) => each.style.width.endsWith("%"));
  const other = card.querySelector("button[aria-pressed=false]");
  const name = other.querySelector(".name").textContent;
  other.click();
  await until(() => card.querySelector("[aria-pressed=true] .name").textContent === name);
  found.focused = document.activeElement.getAttribute("aria-pressed");
  const dropped = new DataTransfer();
  dropped.items.add(new File(["no picture"], "broken.png", { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
  await until(() => document.getElementById("error").textContent);
  found.error = document.getElementById("error").textContent;
  found.requests = performance.getEntriesByType("resource").filter((each) => !each.name.startsWith(location.origin))
    .map((each) => each.name).filter((name) => !/^(data|blob):/.test(name));
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
}
run();
"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium")
def test_a_chosen_picture_is_answered_and_explained_in_a_browser(lenet, tmp_path: Path, monkeypatch):
    html = PAGES["/"][1].replace(b"</body>", b'<script src="/test.js" defer></script></body>')
    pages = {
        **PAGES,
        "/": ("text/html", html),
        "/test.js": ("text/javascript", SCRIPT.replace("TOKEN", TOKEN).encode()),
    }
    monkeypatch.setattr(serving, "PAGES", pages)
    facts = ModelFacts(
        "run/best.ckpt", "lenet", lenet.class_names, False, "", lenet.why_none_near, 20_000_000, 50_000_000
    )
    app, _ = build_app(lenet, Limits(token=TOKEN), facts)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            words = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
            words += ["--virtual-time-budget=60000", "--dump-dom", f"http://127.0.0.1:{bound.getsockname()[1]}/"]
            done = subprocess.run([str(BROWSER), *words], capture_output=True, text=True, timeout=100, check=True)
        finally:
            server.should_exit = True
            thread.join()
    shown = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert shown is not None, done.stdout[-3000:]
    found = json.loads(shown[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert found == {
        "failed": [],
        "model": "run/best.ckpt: lenet, 10 classes (0, 1, 2, 3, 4, 5, 6, 7, ...)",
        "label": "Answer for <b>x</b>.png",
        "classes": 10,
        "bars": True,
        "focused": "true",
        "error": "broken.png: cannot read the image: it is empty or no image of a known format",
        "requests": [],
    }
