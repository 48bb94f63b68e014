"""The cvat-sdk of CVAT 2.15's time, in a folder of the cache beside the environment's newest one.

``python -m tests.serverless.old_sdk`` installs it there; CI does so before the tests.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from c3det.commands import cache_directory

VERSION = "2.15.0"
# What it needs and the newest one does not.
PACKAGES = (f"cvat-sdk=={VERSION}", "tuspy==0.2.5", "requests", "charset-normalizer", "tinydb")
INSTALL = "python -m tests.serverless.old_sdk"


def folder() -> Path:
    """Return the folder, which need not exist."""
    return cache_directory() / f"cvat-sdk-{VERSION}"


def is_installed() -> bool:
    """Tell whether the whole installation is there."""
    return (folder() / "installed").is_file()


def main() -> None:
    """Install it, unless it is there."""
    if is_installed():
        return
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run(
        [*install, "--disable-pip-version-check", "--target", str(folder()), *PACKAGES], check=True
    )
    (folder() / "installed").touch()


if __name__ == "__main__":
    main()
