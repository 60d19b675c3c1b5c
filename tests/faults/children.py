"""Child processes that stop where a test wants them to, to be killed there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def start_python(code: str, *args: object) -> subprocess.Popen[str]:
    """Start ``code`` with ``sys.argv[1:] = args`` in this working directory."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    # tests that a shell started in the background have SIGINT ignored, and a child would inherit that
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", listen + code, *map(str, args)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, child: subprocess.Popen[str], seconds: float = 60) -> None:
    """Return when ``child`` has made ``path``."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < end, "the child did not come so far"
        time.sleep(0.01)
