"""The key of control records of this test session, which its processes find in their environment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

VARIABLE = "TIDEGATE_CONTROL_KEY_FILE"
FILE = str(Path(tempfile.mkdtemp(prefix="tidegate-tests-")) / "control-key.json")

os.environ.setdefault(VARIABLE, FILE)
