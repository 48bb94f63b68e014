"""The file of a data set: `write_index` and `read_index`.

It is COCO JSON: ``bbox`` is ``[x, y, width, height]``, an ignored object has ``iscrowd`` 1, and
``file_name`` is relative to the folder of the JSON file. These keys are added:

=========== ========== ==========================================================================
where       key        meaning
=========== ========== ==========================================================================
annotation  corners    eight numbers, the oriented corners ``x1, y1, ..., x4, y4``
image       name       `Record.name`, where it is not ``file_name``
image       clicks     what an annotator clicked: ``[{"x", "y", "category_id", "positive"}, ...]``
=========== ========== ==========================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from c3det.commands import naming
from training.data.annotated import Annotated, Index, Record
from training.data.picture_files import temporary_path
from training.data.readers.coco import read_coco


def to_coco(pictures: Sequence[Annotated], classes: Sequence[str]) -> dict[str, Any]:
    """Describe pictures in memory as a COCO data set, ready for ``pycocotools``.

    Args:
        pictures: In the order of their ids.
        classes: Names by label; category ``i + 1`` is ``classes[i]``.

    Returns:
        ``images``, ``annotations`` and ``categories`` as in the module's description; all ids
        count from 1, and ``file_name`` is the picture's name.
    """
    images = [
        {"id": number, "file_name": picture.name, "width": picture.width, "height": picture.height}
        for number, picture in enumerate(pictures, start=1)
    ]
    return _coco(images, pictures, classes)


def _coco(
    images: list[dict[str, Any]], pictures: Sequence[Annotated | Record], classes: Sequence[str]
) -> dict[str, Any]:
    """Add the annotations of the pictures, in the order of their ids, and the categories."""
    annotations: list[dict[str, Any]] = []
    for image, picture in zip(images, pictures, strict=True):
        corners = None if picture.corners is None else picture.corners.reshape(-1, 8).tolist()
        for number, box in enumerate(picture.boxes.tolist()):
            width, height = box[2] - box[0], box[3] - box[1]
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image["id"],
                "category_id": int(picture.labels[number]) + 1,
                "bbox": [box[0], box[1], width, height],
                "area": width * height,
                "iscrowd": int(picture.ignored[number]),
            }
            if corners is not None:
                annotation["corners"] = corners[number]
            annotations.append(annotation)
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(classes)]
    return {
        "info": {"description": "c3det"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def write_index(index: Index, path: Path) -> None:
    """Write an index as the module describes, one entry a line; the file is complete or absent.

    The pictures stay where they are.
    """
    images = []
    folder = os.path.realpath(path.parent)
    for number, record in enumerate(index.records, start=1):
        file_name = Path(os.path.relpath(_plain(record.path), folder)).as_posix()
        image: dict[str, Any] = {
            "id": number,
            "file_name": file_name,
            "width": record.width,
            "height": record.height,
        }
        if record.name != file_name:
            image["name"] = record.name
        if record.clicks:
            image["clicks"] = [
                {"x": c.x, "y": c.y, "category_id": c.label + 1, "positive": c.positive}
                for c in record.clicks
            ]
        images.append(image)
    sections = []
    for key, content in _coco(images, index.records, index.classes).items():
        if isinstance(content, list):
            entries = ",\n".join(json.dumps(entry) for entry in content)
            sections.append(f"{json.dumps(key)}: [\n{entries}\n]")
        else:
            sections.append(f"{json.dumps(key)}: {json.dumps(content)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    with naming(path):
        temporary.write_text("{" + ",\n".join(sections) + "}\n", encoding="utf-8")
        temporary.replace(path)


def _plain(path: Path) -> Path:
    """A path without ``..``, which behind a link leads elsewhere than its letters say."""
    return Path(os.path.realpath(path.parent), path.name) if ".." in path.parts else path


def read_index(path: Path) -> Index:
    """Read an index, or any other COCO JSON file of boxes without defects.

    The pictures are not opened.

    Raises:
        ValueError: The file is missing or has a defect; the message names the file and the entry.
    """
    reading = read_coco(path, open_pictures=False)
    if reading.defects:
        more = f" (and {len(reading.defects) - 1} more)" if len(reading.defects) > 1 else ""
        raise ValueError(f"{reading.defects[0]}{more}")
    return reading.index
