"""The key of control records of this test session, which its processes find in their environment."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "TIDEGATE_CONTROL_KEY_FILE"

if VARIABLE not in os.environ:
    _folder = Path(tempfile.mkdtemp(prefix="tidegate-tests-"))
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    os.environ[VARIABLE] = str(_folder / "control-key.json")
