"""A page in headless Chromium: what it asked of the network, said on the console, and put on the screen.

Spoken to through a pair of pipes, so that nothing is installed for it and no port is opened.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 240.0  # seconds
# Chromium reads commands from 3 and writes to 4, whatever numbers the pipes have here.
BEHIND_PIPES = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1:3]]
for wanted, pipe in zip((3, 4), pipes):
    os.dup2(pipe, wanted)
os.execvp(sys.argv[3], sys.argv[3:])
"""
QUIET = 1.0  # seconds without an event, after which a page has settled


def chromium() -> str | None:
    """Where it is, if it is."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Seen:
    """What a page did.

    Attributes:
        dialogs: texts of alerts and the like.
        requests: addresses other than the page's own.
        complaints: errors and warnings of the console, uncaught exceptions, violations of the policy.
        answers: what the expressions gave, in order.
    """

    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)


class Browser:
    """One process of Chromium."""

    def __init__(self, process: "subprocess.Popen[bytes]", to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._number = 0
        self._rest = b""
        self._events: list[dict[str, Any]] = []

    def visit(self, page: Path, *expressions: str) -> Seen:
        """Open a file, wait until nothing more happens, and evaluate JavaScript on it."""
        address = page.resolve().as_uri()
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable", session)
        self.ask("Page.navigate", session, url=address)
        seen = Seen()
        for event in self.events(session, until="Page.loadEventFired"):
            note(event, seen, address)
            if event["method"] == "Page.javascriptDialogOpening":
                self.ask("Page.handleJavaScriptDialog", session, accept=False)
        for expression in expressions:
            result = self.ask("Runtime.evaluate", session, expression=expression, returnByValue=True)
            assert "exceptionDetails" not in result, result
            seen.answers.append(result["result"].get("value"))
        for event in self.events(session):
            note(event, seen, address)
        self.ask("Target.closeTarget", targetId=target)
        return seen

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer = self._next(end - time.monotonic())
            if answer is None:
                continue
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)
        raise TimeoutError(f"Chromium did not answer {method}")

    def events(self, session: str, until: str | None = None) -> Iterator[dict[str, Any]]:
        """Those of a page until there are no more for a while, and not before a certain one."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            event = self._events.pop(0) if self._events else self._next(QUIET)
            if event is None:
                if until is None:
                    return
            elif event.get("sessionId") == session and "method" in event:
                until = None if event["method"] == until else until
                yield event
        raise TimeoutError(f"the page did not come to rest within {PATIENCE:g} s")

    def _next(self, seconds: float) -> dict[str, Any] | None:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], max(seconds, 0))
            if not ready:
                return None
            piece = os.read(self._back, 1 << 16)
            if not piece:
                raise ConnectionError(f"Chromium ended with {self._process.wait()}")
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(text)
        return found


def note(event: dict[str, Any], seen: Seen, address: str) -> None:
    """Keep what an event says."""
    method, about = event["method"], event.get("params", {})
    if method == "Page.javascriptDialogOpening":
        seen.dialogs.append(about["message"])
    elif method == "Network.requestWillBeSent" and about["request"]["url"] != address:
        seen.requests.append(about["request"]["url"])
    elif method == "Runtime.exceptionThrown":
        thrown = about["exceptionDetails"]
        seen.complaints.append(thrown.get("exception", {}).get("description") or thrown["text"])
    elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
        seen.complaints.append(about["entry"]["text"])
    elif method == "Runtime.consoleAPICalled":
        seen.complaints.append(json.dumps(about["args"])[:500])


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    """Started, and ended whatever happens."""
    theirs_in, to = os.pipe()
    back, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-extensions",
            f"--user-data-dir={profile}", "--remote-debugging-pipe",
        ]  # fmt: skip
        wrapped = [sys.executable, "-c", BEHIND_PIPES, str(theirs_in), str(theirs_out), *command]
        process = subprocess.Popen(
            wrapped, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Browser(process, to, back)
        finally:
            os.close(to)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(back)
