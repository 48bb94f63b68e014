"""Make the README's picture: ``python -m tests.serverless.readme_picture [FILE]``.

Starts the runtime with the shipped weights, opens the page in headless Chromium, names three
classes, clicks an object or two of each in the first sample picture and takes a screenshot.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

import nuclio_sdk
from PIL import Image

from serverless.deployment import FUNCTION
from serverless.local import PAGE, LocalServer, describe_model
from serverless.nuclio_worker import NuclioWorker
from tests.serverless.page_driver import Page, chromium, missing_programs, serving
from training.data.samples import make_samples

# Middles of objects of the first sample picture, by their classes.
OBJECTS = {"golden": ((420, 402),), "blue": ((405, 74),), "red": ((481, 552),)}


def take_picture(samples: Path) -> Image.Image:
    """Return a screenshot of the page, which shows a folder's pictures, after a few clicks."""
    logger = nuclio_sdk.Logger("ERROR", name="readme_picture")
    worker = NuclioWorker.load(FUNCTION, logger)
    worker.start()
    server = LocalServer(("127.0.0.1", 0), worker, samples)
    server.model = describe_model(worker)
    with serving(server) as url, chromium() as browser:
        page = Page(browser, url)
        page.settle()
        page.press("#rename")
        for name, middles in OBJECTS.items():
            page.type_name(name)
            for x, y in middles:
                page.click(x, y)
                page.settle()
        return Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.serverless.readme_picture")
    parser.add_argument("file", type=Path, nargs="?", default=PAGE / "screenshot.jpg")
    file = parser.parse_args().file
    if reason := missing_programs():
        sys.exit(f"readme_picture: {reason}; on Debian: apt install chromium chromium-driver")
    with tempfile.TemporaryDirectory() as samples:
        make_samples(Path(samples))
        picture = take_picture(Path(samples))
    # Full chroma keeps thin coloured lines; a PNG of a photograph is three times as large.
    picture.save(file, quality=80, subsampling=0, optimize=True)
    print(f"{file}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
