"""A real browser for tests: headless Chromium, driven over its DevTools protocol on two pipes.

Messages are JSON ended by a NUL byte, on descriptors 3 and 4 of the browser: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",  # the sandbox refuses to run as root, and the only page it would confine is ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",  # containers have 64 MB of it
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE = 60.0  # seconds for an answer: only a broken browser needs them


class Browser:
    """One Chromium with an empty profile in `folder`."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM
        self._numbers = 0
        self._buffer = b""
        self.messages: list[dict[str, Any]] = []  # events that were not asked for, in order
        to_browser, self._writing = map(_high, os.pipe())
        self._reading, from_browser = map(_high, os.pipe())
        log = os.open(folder / "chromium.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        words = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        actions = [
            (os.POSIX_SPAWN_DUP2, to_browser, 3),
            (os.POSIX_SPAWN_DUP2, from_browser, 4),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ]
        self.pid = os.posix_spawn(CHROMIUM, words, os.environ, file_actions=actions)
        for descriptor in (to_browser, from_browser, log):
            os.close(descriptor)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        self._numbers += 1
        number = self._numbers
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self.messages.append(answer)

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self._reading, selectors.EVENT_READ)
            while b"\0" not in self._buffer:
                assert selector.select(max(0, end - time.monotonic())), "Chromium does not answer"
                data = os.read(self._reading, 1 << 16)
                assert data, "Chromium has ended"
                self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, path: Path, *, width: int = 1000, height: int = 800, dark: bool = False) -> Page:
        """Open a file in a window of that size."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.set_dark(dark)
        page.call("Page.navigate", url=path.as_uri())
        page.wait_for("Page.loadEventFired")
        return page

    def close(self) -> None:
        """End the browser, and wait until it and all it has started are gone."""
        started = psutil.Process(self.pid).children(recursive=True)
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close")
        end = time.monotonic() + PATIENCE
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.01)
        while any(map(_is_alive, started)):
            if time.monotonic() > end:
                raise AssertionError([process for process in started if _is_alive(process)])
            time.sleep(0.01)
        os.close(self._reading)
        os.close(self._writing)


class Page:
    """A page that is open in a browser."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to this page."""
        return self._browser.call(method, self._session, **parameters)

    def wait_for(self, method: str, times: int = 1) -> None:
        """Wait until the browser has told of it that often."""
        end = time.monotonic() + PATIENCE
        while len(self.events(method)) < times:
            assert time.monotonic() < end, f"{method} did not come"
            self.call("Runtime.evaluate", expression="0")
            time.sleep(0.01)

    def events(self, method: str) -> list[dict[str, Any]]:
        """Return what the browser has told of this page under that name."""
        return [
            message["params"]
            for message in self._browser.messages
            if message.get("method") == method and message.get("sessionId") == self._session
        ]

    def resize(self, width: int, height: int, *, scale: float = 1) -> None:
        """Give the window another size; below 500 pixels it is a phone, with touch."""
        phone = width < 500
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def set_dark(self, dark: bool) -> None:
        """Choose the colour scheme; nothing moves by itself, so that a picture shows no state in between."""
        features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        listed = [{"name": name, "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=listed)

    def reload(self) -> None:
        """Load it again."""
        loaded = len(self.events("Page.loadEventFired"))
        self.call("Page.reload")
        self.wait_for("Page.loadEventFired", times=loaded + 1)

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def move(self, x: float, y: float) -> None:
        """Move the mouse there."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def touch(self, x: float, y: float) -> None:
        """Put a finger there, and take it away."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        """Press and release a key."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key])

    def screenshot(self, *, whole: bool = False) -> bytes:
        """Return a PNG of the window, or of the whole page."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])

    def close(self) -> None:
        """Close the page."""
        self._browser.call("Target.closeTarget", targetId=self._target)


def _is_alive(process: psutil.Process) -> bool:
    """A zombie has ended: not every machine has somebody who collects orphans."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _high(descriptor: int) -> int:
    """Move a descriptor out of the way of 3 and 4."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved
