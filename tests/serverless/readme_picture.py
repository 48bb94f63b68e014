"""Make the README's picture: ``python -m tests.serverless.readme_picture [FILE]``.

Starts the runtime with the shipped weights, opens the page in headless Chromium, clicks one object
each of three classes in the first sample picture and takes a screenshot. It needs the pictures of
``python -m training.data.samples``.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import nuclio_sdk
from PIL import Image

from serverless.local import FUNCTION, PAGE, LocalServer, describe_model, samples_directory
from serverless.nuclio_worker import FunctionSettings, NuclioWorker
from tests.serverless.page_driver import Page, chromium, missing_programs, serving

# Classes and middles of three objects of the harbour.
OBJECTS = (
    ("ship", 120.2, 252.1),
    ("helicopter", 259.9, 148.6),
    ("storage-tank", 192.8, 161.7),
)


def take_picture() -> Image.Image:
    """Return a screenshot of the page after three clicks."""
    logger = nuclio_sdk.Logger("ERROR", name="readme_picture")
    worker = NuclioWorker.load(FunctionSettings.read(FUNCTION), logger)
    worker.start()
    server = LocalServer(("127.0.0.1", 0), worker, samples_directory())
    server.model = describe_model(worker)
    with serving(server) as url, chromium() as browser:
        page = Page(browser, url)
        page.settle()
        for name, x, y in OBJECTS:
            page.press(f"#classes [title='{name}']")
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
    if not any(samples_directory().glob("*.png")):
        sys.exit("readme_picture: there are no samples; run python -m training.data.samples first")
    # Full chroma keeps thin coloured lines; a PNG of a photograph is three times as large.
    take_picture().save(file, quality=80, subsampling=0, optimize=True)
    print(f"{file}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
