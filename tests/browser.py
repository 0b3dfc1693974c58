"""A headless Chromium that is driven through its debugging pipe, without a driver or a network."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: the page is not run in a browser")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Browser:
    """One page of a headless Chromium.

    Args:
        profile: An empty folder for its files.
        url: The page to open.
        size: Width and height of the window in pixels.
        dark: Whether the page is told that the user prefers dark colors.

    Attributes:
        messages: Errors, warnings and log messages of the page, with violations of its policy.
    """

    def __init__(self, profile: Path, url: str, size: tuple[int, int], dark: bool = False) -> None:
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        # Chromium reads commands from descriptor 3 and writes to descriptor 4.
        script = f'exec "$@" 3<&{read_there} 4>&{write_there}'
        command = [str(CHROMIUM), *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(read_there, write_there),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_there)
        os.close(write_there)
        self._input, self._output = os.fdopen(write_here, "wb", 0), os.fdopen(read_here, "rb", 0)
        self._number, self._buffer, self._session = 0, b"", None
        self.messages: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.resize(*size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._input.close()
        self._output.close()
        self._process.terminate()
        self._process.wait(20)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._input.write(json.dumps(message).encode() + b"\0")
        for answer in self._answers():
            self._note(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
        raise AssertionError(f"the browser ended during {method}")

    def _answers(self) -> Iterator[dict[str, Any]]:
        while True:
            text, end, rest = self._buffer.partition(b"\0")
            if end:
                self._buffer = rest
                yield json.loads(text)
                continue
            more = os.read(self._output.fileno(), 1 << 20)
            if not more:
                return
            self._buffer += more

    def _note(self, answer: dict[str, Any]) -> None:
        kind, given = answer.get("method"), answer.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(given["exceptionDetails"])[:500])
        elif kind == "Runtime.consoleAPICalled":
            self.messages.append(json.dumps(given["args"])[:500])
        elif kind == "Log.entryAdded":
            self.messages.append(given["entry"]["text"])

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript and return its value; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until JavaScript is true, for at most a minute."""
        waiting = (
            "new Promise((done, fail) => { const begun = Date.now(); (function look() { "
            f"if ({expression}) done(true); "
            "else if (Date.now() - begun > 60000) fail(new Error('never')); else setTimeout(look, 20); })(); })"
        )
        self.run(waiting)

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def key(self, name: str, code: int, text: str = "") -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **extra)

    def choose(self, name: str, value: str) -> None:
        """Set a control by its id, as a user does."""
        self.run(
            f"(() => {{ const it = document.getElementById({json.dumps(name)}); it.value = {json.dumps(value)}; "
            "for (const kind of ['input', 'change']) it.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Save a picture of the window, or of the whole page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
