"""Take the pictures of docs/report-html.md again, from real runs: `python docs/images/take.py`. Needs chromium and bun.

Each picture is one command that is guarded, `memguard report --html` on its log, and a window of headless Chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from chromium import Browser, Page  # noqa: E402 - the browser of the tests

SHOP = '''
import time

import pytest

MB = 1 << 20
catalogue = []


def work(mb):
    """Take memory, 5 MB every 50 ms."""
    held = []
    for _ in range(mb // 5):
        held.append(b"x" * (5 * MB))
        time.sleep(0.05)
    return held


def test_prices():
    work(20)


def test_pictures():
    work(80)


def test_catalogue_is_loaded_once():
    catalogue.append(work(30))


def test_search():
    work(60)


def test_export():
    work(500)


@pytest.mark.parametrize("pages", [10, 30, 50])
def test_invoices(pages):
    work(pages)
'''


def main() -> int:
    """Run the commands, and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="shop-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        shutil.copytree(ROOT / "examples", folder / "examples")
        shutil.copytree(ROOT / "tests" / "bun_project", folder / "bun")
        (folder / "test_shop.py").write_text(SHOP)
        guard = ["memguard-test", "-i", "0.1", "-l", "leak.log", "-t", "200"]
        _run(folder, *guard, "python", "examples/leak.py", status=137)
        pytest = ["python", "-m", "pytest", "-n", "2", "--mem-limit=300", "--mem-log=shop.log"]
        _run(folder, *pytest, "test_shop.py", status=1)
        guard = ["memguard-test", "-i", "0.05", "-l", "../bun.log", "-t", "150"]
        _run(folder / "bun", *guard, "bun", "test", "bun_workers", "node_workers", status=0)
        browser = Browser(folder)
        try:
            _take(browser, folder, "leak", "report-light.png", width=760)
            _take(browser, folder, "shop", "report-dark.png", width=760, dark=True, at=0.4)
            _take(browser, folder, "bun", "report-phone.png", width=360)
        finally:
            browser.close()
    return 0


def _run(folder: Path, *words: object, status: int) -> None:
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "MEMGUARD_INTERVAL": "0.1",
        "MEMGUARD_NOTIFY": "false",
        "XDG_STATE_HOME": str(folder / "state"),
    }
    ended = subprocess.run([*map(str, words)], cwd=folder, env=environment, check=False)
    if ended.returncode != status:
        raise SystemExit(f"{words} ended with {ended.returncode} instead of {status}")


def _take(
    browser: Browser,
    folder: Path,
    name: str,
    picture: str,
    *,
    width: int,
    dark: bool = False,
    at: float = 0,
) -> None:
    """Take a picture of the page down to its facts; `at` is how far from the left of the plot the mouse is."""
    html = folder / f"{name}.html"
    _run(folder, "memguard", "report", f"{name}.log", "--html", html, status=0)
    page = browser.open(html, width=width, dark=dark)
    page.resize(width, page.ask("Math.floor(document.querySelector('.facts').getBoundingClientRect().top)"))
    if at:
        _point(page, at)
    target = ROOT / "docs" / "images" / picture
    target.write_bytes(page.screenshot())
    page.close()
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size // 1024} KB")


def _point(page: Page, at: float) -> None:
    left, right, middle = page.ask(
        "(() => { const b = document.querySelector('.graph').getBoundingClientRect();"
        " return [b.left, b.right, (b.top + b.bottom) / 2]; })()"
    )
    page.move(left + (right - left) * at, middle)


if __name__ == "__main__":
    sys.exit(main())
