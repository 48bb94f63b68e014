"""The index and the tree sets."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from training.data import trees
from training.data.annotated import Annotated, clip_boxes, crop, rotate_quarters
from training.data.index import to_coco


def picture(width: int, height: int, boxes: list[list[float]]) -> Annotated:
    """Make a picture whose red channel is the column and whose green channel is the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0] = np.arange(width)
    image[:, :, 1] = np.arange(height)[:, None]
    return Annotated(
        name="toy",
        image=image,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.zeros(len(boxes), np.int64),
    )


def test_annotated_rejects_other_types() -> None:
    good = picture(4, 4, [[0, 0, 1, 1]])
    with pytest.raises(ValueError, match=r"toy: the image must be uint8 \(H, W, 3\)"):
        Annotated("toy", good.image[:, :, 0], good.boxes, good.labels)
    with pytest.raises(ValueError, match=r"toy: the boxes must be float32 \(N, 4\)"):
        Annotated("toy", good.image, good.boxes.astype(np.float64), good.labels)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"toy: the labels must be int64 \(1,\)"):
        Annotated("toy", good.image, good.boxes, np.zeros(2, np.int64))


def test_clip_boxes_keeps_halves() -> None:
    boxes = np.array([[0, 0, 4, 4], [-2, 0, 2, 4], [-3, 0, 2, 4], [8, 8, 14, 10]], np.float32)
    cut, stays = clip_boxes(boxes, 0, 0, 10, 10)
    assert stays.tolist() == [True, True, False, False]
    assert cut.tolist() == [[0, 0, 4, 4], [0, 0, 2, 4]]
    cut, stays = clip_boxes(boxes, 0, 0, 10, 10, min_visible=0)
    assert stays.all()
    cut, stays = clip_boxes(boxes, 100, 100, 10, 10, min_visible=0)
    assert cut.shape == (0, 4)


def test_crop() -> None:
    piece = crop(picture(20, 10, [[5, 2, 9, 6], [0, 0, 3, 3]]), x=4, y=1, width=6, height=4)
    assert piece.image.shape == (4, 6, 3)
    assert piece.image[0, 0].tolist() == [4, 1, 0]
    assert piece.boxes.tolist() == [[1, 1, 5, 4]]
    assert piece.labels.tolist() == [0]
    assert piece.name == "toy@4,1,6x4"


@pytest.mark.parametrize("window", [(-1, 0, 5, 5), (16, 0, 5, 5), (0, 0, 0, 5)])
def test_crop_outside(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="toy: no window"):
        crop(picture(20, 10, []), *window)


@pytest.mark.parametrize("quarter_turns", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_turn_moves_boxes_with_the_image(quarter_turns: int, mirror: bool) -> None:
    source = picture(6, 4, [[1, 0, 4, 2]])
    source.image[:] = 0
    source.image[0:2, 1:4] = 255
    turned = rotate_quarters(source, quarter_turns, mirror)
    rows, columns = np.nonzero(turned.image[:, :, 0])
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert turned.boxes.tolist() == [box]


def test_turn_is_clockwise() -> None:
    turned = rotate_quarters(picture(6, 4, [[0, 0, 1, 1]]), 1, mirror=False)
    assert turned.boxes.tolist() == [[3, 0, 4, 1]]


def test_coco() -> None:
    coco = to_coco([picture(6, 4, []), picture(20, 10, [[5, 2, 9, 8]])], trees.CLASSES)
    assert coco["images"][1] == {"id": 2, "file_name": "toy", "width": 20, "height": 10}
    assert coco["annotations"] == [
        {
            "id": 1,
            "image_id": 2,
            "category_id": 1,
            "bbox": [5, 2, 4, 6],
            "area": 24,
            "iscrowd": 0,
        }
    ]
    assert coco["categories"] == [{"id": 1, "name": "tree"}]


def test_coco_is_read_by_pycocotools() -> None:
    coco_module = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    data = coco_module.COCO()
    data.dataset = to_coco([picture(20, 10, [[5, 2, 9, 8]])], trees.CLASSES)
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
    assert data.getAnnIds(imgIds=[1]) == [1]


def test_reduce_averages_areas() -> None:
    source = picture(4, 2, [[0, 0, 2, 2]])
    reduced = trees.reduce(source, 1 / 2)
    assert reduced.image.shape == (1, 2, 3)
    # Columns 0 and 1 average to 0.5, columns 2 and 3 to 2.5; PIL rounds halves up.
    assert reduced.image[0, :, 0].tolist() == [1, 3]
    assert reduced.boxes.tolist() == [[0, 0, 1, 1]]
    assert reduced.name == "toy*0.500"


def test_grid_covers_the_picture_once() -> None:
    pieces = trees.grid(picture(25, 12, [[4, 2, 14, 6], [11, 0, 14, 3]]), patch=12)
    assert [piece.name for piece in pieces] == ["toy@0,0,12x12", "toy@12,0,13x12"]
    assert pieces[0].boxes.tolist() == [[4, 2, 12, 6]]
    assert pieces[1].boxes.tolist() == [[0, 0, 2, 3]]


def test_real_trees() -> None:
    train = trees.train_pictures()
    assert [len(whole.labels) for whole in train] == [574, 574]
    assert [whole.image.shape for whole in train] == [(1236, 1150, 3), (824, 766, 3)]
    test = trees.test_pictures()
    assert len({piece.name for piece in test}) == len(test) == 6
    assert not any(trees.TRAIN_PICTURE in piece.name for piece in test)
    for piece in [*train, *test]:
        assert (piece.boxes[:, :2] >= 0).all()
        assert (piece.boxes[:, 2] <= piece.width).all()
        assert (piece.boxes[:, 3] <= piece.height).all()
        assert (piece.boxes[:, 2:] > piece.boxes[:, :2]).all()
    assert test[0].image.shape == (259, 312, 3)
