"""Child processes that stop where a test wants them to, to be killed there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .harness import CONTEXT


def start_python(code: str, *args: object) -> subprocess.Popen[str]:
    """Start ``code`` with ``sys.argv[1:] = args`` in this working directory."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    # tests that a shell started in the background have SIGINT ignored, and a child would inherit that
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", listen + code, *map(str, args)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Forked:
    """Like :func:`start_python`, but forked from a server that has imported lit_cnn and torch: there in no time."""

    def __init__(self, code: str, *args: object) -> None:
        self.printed = [Path(f"child-{time.monotonic_ns()}-{stream}.txt").absolute() for stream in ("out", "err")]
        words = [code, list(map(str, args)), str(Path.cwd()), dict(os.environ), [str(path) for path in self.printed]]
        self.process = CONTEXT.Process(target=_run, args=words)
        self.process.start()

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        """The exit status, ``None`` while it runs."""
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        """Wait for the end; returns what was printed to standard output and to standard error."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, "the child hangs"
        return tuple(path.read_text() for path in self.printed)


def _run(code: str, args: list[str], folder: str, environment: dict[str, str], printed: list[str]) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[1:] = args
    for number, path in enumerate(printed, 1):
        file = Path(path).open("w", buffering=1)  # noqa: SIM115  # until the process ends
        os.dup2(file.fileno(), number)
        setattr(sys, ("stdout", "stderr")[number - 1], file)
    exec(compile(code, "<child>", "exec"), {"__name__": "__main__"})


def wait_for(path: Path, child: subprocess.Popen[str] | Forked, seconds: float = 60) -> None:
    """Return when ``child`` has made ``path``."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < end, "the child did not come so far"
        time.sleep(0.01)
