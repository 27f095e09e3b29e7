"""Started by root, Postgres runs as nobody, also below folders that only root may enter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from credit_local_stack.postgres import as_server_user


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_nobody_reaches_binaries_below_a_folder_of_roots(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    shutil.copy("/bin/sh", closed / "sh")
    # Python asks access(2), as initdb does; the test of a shell may not.
    script = f"import os; print(os.access({str(closed / 'sh')!r}, os.X_OK), os.getuid() != 0)"
    said = subprocess.run([*as_server_user(), sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "True"]
