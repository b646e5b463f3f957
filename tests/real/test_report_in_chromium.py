"""The report in a real browser: no console error, every section visible, no sideways scrolling on phone or desktop.

Needs Debian's chromium. A page with a frame of the wanted width holds the report, so that a phone's width is exact
whatever the smallest window of the browser is; a script in the outer page measures the inner one and posts what it
found to a server of the test's. In real time: under --virtual-time-budget a fast machine ended before the first frame.
"""

import json
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Empty, Queue

import pytest
from PIL import Image

from pipeline.report import figure
from pipeline.report.recipe import STAGE
from tests.test_report import report, toy_run

pytestmark = pytest.mark.real

PROBE = """<!doctype html><meta charset="utf-8"><title>probe</title><link rel="icon" href="data:,">
<iframe src="out/index.html" style="width:%dpx;height:900px;border:0"></iframe>
<script>
addEventListener("load", () => requestAnimationFrame(() => {
  const frame = document.querySelector("iframe"), inner = frame.contentDocument, root = inner.documentElement;
  inner.querySelectorAll("details").forEach(d => { d.open = true; });
  const sections = [...inner.querySelectorAll("section")].map(s => {
    const box = s.getBoundingClientRect();
    return [s.id, box.width, box.height, getComputedStyle(s).visibility];
  });
  const reachable = [...inner.querySelectorAll("a, summary, button, .scroll, .plot, .tokens")];
  const focusable = reachable.filter(e => { e.focus(); return inner.activeElement === e; });
  const inside = ".scroll, .hidden, .skip, .tokens";
  const outside = e => !e.closest(inside) && e.getBoundingClientRect().right > root.clientWidth + 1;
  const wide = [...inner.querySelectorAll("body *")].filter(outside);
  const pictures = () => [...inner.querySelectorAll(".plot canvas")].map(c => c.toDataURL());
  const press = (place, key) =>
    place.dispatchEvent(new frame.contentWindow.KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
  const settled = () => new Promise(done => setTimeout(done, 200));
  const plots = [...inner.querySelectorAll(".plot")], stages = plots.map(p => p.dataset.stage);
  const differ = (a, b) => stages.filter((_, i) => a[i] !== b[i]);
  (async () => {
    await settled();
    const found = {
      view: root.clientWidth, content: root.scrollWidth, sections,
      focusable: focusable.length, reachable: reachable.length, wide: wide.map(e => e.tagName + "." + e.className),
      plots: plots.length, empty: [...inner.querySelectorAll(".plot canvas")].filter(c =>
        !c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(v => v)).length,
      narrow: [...inner.querySelectorAll("output")].filter(o => o.getBoundingClientRect().width < 100).length };
    if (plots.length) {
      const first = pictures(), loss = plots[0];
      press(loss, "ArrowRight"); press(loss, "ArrowRight"); await settled();
      found.read = loss.closest("figure").querySelector("output").textContent;
      press(loss, "+"); await settled();
      const zoomed = pictures(); found.zoomed = [...new Set(differ(first, zoomed))];
      press(loss, "0"); await settled();
      found.restored = differ(first, pictures()).length === 0;
      inner.querySelector('.tools [data-do="in"]').click(); await settled();
      found.button = [...new Set(differ(first, pictures()))];
    }
    const row = inner.querySelector(".chain li[data-stage] a");
    const last = [...inner.querySelectorAll(".chain li[data-stage] a")].at(-1);
    if (row) last.focus();
    found.arcs = inner.querySelectorAll(".chain path.source").length;
    fetch("http://127.0.0.1:%d/", {method: "POST", mode: "no-cors", body: JSON.stringify(found)});
  })();
}));
</script>
"""


SCROLLED = """<!doctype html><meta charset="utf-8"><style>%s
body { background: var(--card); } .scroll { width: 300px; height: 100px; margin: 0 0 20px; scrollbar-width: none; }
</style>
<div class="scroll"><div style="width:900px">&nbsp;</div></div>
<div class="scroll"><div style="width:900px">&nbsp;</div></div>
<div class="scroll"><div style="width:900px">&nbsp;</div></div>
<div class="scroll"><div style="width:200px">&nbsp;</div></div>
<script>[0, 300, 600, 0].forEach((left, i) => { document.querySelectorAll(".scroll")[i].scrollLeft = left; });</script>
"""


def command(folder, width: int) -> list[str]:
    """Headless Chromium, offline but for the test's server."""
    browser = shutil.which("chromium")
    assert browser, "chromium is missing: apt-get install chromium"
    return [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--enable-logging=stderr", "--allow-file-access-from-files",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1000",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]  # fmt: skip


def browse(page, width: int, posted: Queue, errors) -> bytes:
    """Opens a page until it has posted something."""
    with errors.open("w") as console:
        running = subprocess.Popen(
            [*command(page.parent, width), "--remote-debugging-port=0", page.as_uri()],
            stdout=subprocess.DEVNULL,
            stderr=console,
        )
        try:
            return posted.get(timeout=100)
        except Empty:
            raise AssertionError(f"nothing measured in 100 s: {errors.read_text()[-2000:]}") from None
        finally:
            running.terminate()
            running.wait(20)


def measure(tmp_path, width: int) -> dict:
    """What the probe found in the report at that width, and that the console stayed silent."""
    posted: Queue = Queue()

    class Take(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    page, errors = tmp_path / "probe.html", tmp_path / "console.txt"
    with HTTPServer(("127.0.0.1", 0), Take) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.write_text(PROBE % (width, server.server_port), encoding="utf-8")
        found = browse(page, max(width + 100, 800), posted, errors)
        server.shutdown()
    assert [line for line in errors.read_text().splitlines() if "CONSOLE" in line] == []
    return json.loads(found)


@pytest.mark.parametrize("width", [400, 1600])
def test_every_section_is_visible_and_nothing_is_wider_than_the_page(tmp_path, width):
    report(tmp_path, toy_run(tmp_path))
    found = measure(tmp_path, width)
    # A vertical scroll bar takes some of the width on a desktop.
    assert width - 20 <= found["view"] <= width
    assert found["content"] <= found["view"]
    assert found["wide"] == []
    names = [name for name, *_ in found["sections"]]
    trained = ["pretrain", "sft", "preferences", "reward", "dpo", "ppo", "grpo"]
    measured = ["aligned", "evaluate", "differences", "answers"]
    assert names == ["look", "chain", "corpus", "dirt", "tokenizer", *trained, *measured, "provenance"]
    for name, across, down, visibility in found["sections"]:
        assert across > 300 and down > 60 and visibility == "visible", name
    assert found["plots"] == 23 and found["empty"] == 0 and found["narrow"] == 0
    assert found["focusable"] == found["reachable"] > 40
    # By keyboard: arrows read a curve, + zooms all of its stage's curves and no others, 0 shows the whole again.
    assert re.fullmatch(r"step 10: training [\d.]+", found["read"])
    assert found["zoomed"] == ["pretrain"] and found["restored"] and found["button"] == ["pretrain"]
    assert found["arcs"] == 1


def test_gaps_are_visible_on_a_phone(tmp_path):
    others = tuple(name for name in STAGE.reads if name not in ("corpus", "pretrain"))
    report(tmp_path, toy_run(tmp_path, leave_out=others))
    found = measure(tmp_path, 400)
    assert found["content"] <= found["view"]
    assert [name for name, *_ in found["sections"]][-1] == "provenance"


def test_an_error_on_the_console_would_be_seen(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("<!doctype html><script>nothing.here()</script>")
    with pytest.raises(AssertionError):
        measure(tmp_path, 400)


def test_a_wide_table_is_dark_at_the_side_where_more_of_it_lies(tmp_path):
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    style = (Path(figure.__file__).parent / "style.css").read_text(encoding="utf-8")
    page.write_text(SCROLLED % style, encoding="utf-8")
    shot = [*command(tmp_path, 800), "--hide-scrollbars", f"--screenshot={picture}", page.as_uri()]
    subprocess.run(shot, check=True, capture_output=True, timeout=100)
    seen = Image.open(picture).convert("L")

    def dark(table: int) -> tuple[bool, bool]:
        """Whether the left and the right side are darker than the middle, in the middle of a table's height."""
        left, middle, right = (seen.getpixel((x, 120 * table + 50)) for x in (1, 150, 298))
        return left < middle - 20, right < middle - 20

    # At its beginning, in its middle, at its end; and one that fits.
    assert [dark(table) for table in range(4)] == [(False, True), (True, True), (True, False), (False, False)]
