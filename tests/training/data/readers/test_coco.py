from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from c3det.clicks import Click
from training.data.readers.coco import _around, read_coco

COMPRESSED = "bg43]20^m2"
"""Of a mask of 100 x 80 px, two columns of three pixels from (60, 50) on, by pycocotools."""

SOUND = """{
"categories": [
{"id": 7, "name": "car"},
{"id": 3, "name": "tree"}
],
"images": [
{"id": 10, "file_name": "a.png", "width": 100, "height": 80},
{"id": 11, "file_name": "b.png", "width": 50, "height": 40}
],
"annotations": [
{"id": 1, "image_id": 10, "category_id": 3, "bbox": [10, 20, 30, 40]},
{"id": 2, "image_id": 11, "category_id": 7, "bbox": [0, 0, 50, 40], "iscrowd": 1},
{"id": 3, "image_id": 10, "category_id": 7, "bbox": [0.5, 0.5, 1.5, 2.5], "difficult": 1}
]
}
"""

# One defect an entry, but for the first ones.
DEFECTIVE = """{
"categories": [
{"id": 1, "name": "car"},
{"id": 1, "name": "ship"},
{"id": 2, "name": "car"},
{"id": 3},
"tree"
],
"images": [
{"id": 1, "file_name": "a.png", "width": 100, "height": 80},
{"id": 2, "file_name": "gone.png", "width": 100, "height": 80},
{"id": 3, "file_name": "b.png", "width": 51, "height": 40},
{"id": 1, "file_name": "c.png", "width": 100, "height": 80},
{"id": 4, "file_name": "a.png", "width": 100, "height": 80},
{"id": 5, "width": 100, "height": 80},
{"id": 6, "file_name": "c.png", "width": "100", "height": 80},
{"id": 7, "file_name": "text.png", "width": 100, "height": 80}
],
"annotations": [
{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40]},
{"id": 1, "image_id": 1, "category_id": 1, "bbox": [11, 20, 30, 40]},
{"id": 3, "image_id": 99, "category_id": 1, "bbox": [10, 20, 30, 40]},
{"id": 4, "image_id": 1, "category_id": 99, "bbox": [10, 20, 30, 40]},
{"id": 5, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30]},
{"id": 6, "image_id": 1, "category_id": 1, "bbox": [10, 20, 0, 40]},
{"id": 7, "image_id": 1, "category_id": 1, "bbox": [10, 20, NaN, 40]},
{"id": 8, "image_id": 1, "category_id": 1, "bbox": [100, 20, 5, 5]},
{"id": 9, "image_id": 1, "category_id": 1, "bbox": [90, 20, 15, 5]},
{"id": 10, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40]},
{"id": 11, "image_id": 2, "category_id": 1, "bbox": [10, 20, 30, 40]},
{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]},
{"id": 13, "image_id": 1, "category_id": 1, "bbox": [5, 5, 2, 2], "corners": [1, 2, 3]},
{"id": 14, "image_id": 1, "category_id": 1}
]
}
"""


@pytest.fixture
def folder(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    make_picture("a.png")
    make_picture("b.png", 50, 40)
    make_picture("c.png")
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def test_sound_file(folder: Path) -> None:
    (folder / "labels.json").write_text(SOUND)
    reading = read_coco(folder / "labels.json")
    assert reading.defects == ()
    assert reading.index.classes == ("car", "tree")
    first, second = reading.index.records
    assert (first.name, first.path, first.width, first.height) == (
        "a.png",
        folder / "a.png",
        100,
        80,
    )
    assert first.boxes.tolist() == [[10, 20, 40, 60], [0.5, 0.5, 2, 3]]
    assert first.labels.tolist() == [1, 0]
    assert first.ignored.tolist() == [False, True]
    assert second.ignored.tolist() == [True]
    assert first.corners is None


def test_every_defect_is_reported_and_the_rest_read(folder: Path) -> None:
    path = folder / "labels.json"
    path.write_text(DEFECTIVE)
    reading = read_coco(path)
    assert all(defect.file == path for defect in reading.defects)
    formats = "JPEG, PNG, TIFF, BMP, WEBP, GIF, JPEG2000, PPM"
    out = "; it is left out"
    of_100 = "the picture of 100 x 80 pixels"
    assert [(defect.place, defect.sentence) for defect in reading.defects] == [
        ("categories[1]", "the id 1 is taken by an earlier entry; this one is left out"),
        ("categories[2]", "the name 'car' of category 2 is taken; both are one class"),
        ("categories[3]", f"category 3 has no name{out}"),
        ("categories[4]", f'the entry is no object but "tree"{out}'),
        ("images[1]", f"there is no picture {folder}/gone.png{out}"),
        ("images[2]", f"{folder}/b.png is 50 x 40 pixels large, not 51 x 40 as stated; "
                      "the picture is left out"),
        ("images[3]", "the id 1 is taken by an earlier entry; this one is left out"),
        ("images[4]", "the name a.png is taken; this picture and its objects are left out"),
        ("images[5]", f"the picture has no file_name{out}"),
        ("images[6]", "c.png has no width and height, but '100' and 80"),
        ("images[7]", f"{folder}/text.png: this is no picture in one of {formats}; "
                      "the picture is left out"),
        ("annotations[1]", "the id 1 is taken by annotations[0]; the annotation is kept"),
        ("annotations[2]", f"annotation 3 is of picture 99, which is not in images{out}"),
        ("annotations[3]", f"annotation 4 is of category 99, which is not in categories{out}"),
        ("annotations[4]", f"annotation 5 has no bbox of four numbers, but [10, 20, 30]{out}"),
        ("annotations[5]", f"annotation 6 encloses no area: 10, 20, 10, 60{out}"),
        ("annotations[6]", f"annotation 7 has a coordinate that is no number: 10, 20, nan, "
                           f"60{out}"),
        ("annotations[7]", f"annotation 8 is outside {of_100}: 100, 20, 105, 25{out}"),
        ("annotations[8]", f"annotation 9 reaches 5 px out of {of_100}: 90, 20, 105, 25; "
                           "it is cut"),
        ("annotations[9]", f"annotation 10 is the same as the object at annotations[0]{out}"),
        ("annotations[11]", "the id of the annotation is null, neither a whole number nor a "
                            "text; it is kept"),
        ("annotations[12]", f"the corners of annotation 13 are not eight numbers{out}"),
        ("annotations[13]", f"annotation 14 has no bbox of four numbers, but null{out}"),
    ]  # fmt: skip
    assert reading.index.classes == ("car",)
    first, unsized = reading.index.records
    assert first.boxes.tolist() == [
        [10, 20, 40, 60],
        [11, 20, 41, 60],
        [90, 20, 100, 25],
        [1, 1, 3, 3],
    ]
    assert (unsized.name, unsized.width, unsized.height) == ("c.png", 100, 80)


@pytest.mark.parametrize(
    ("content", "line", "sentence"),
    [
        ('{"images": [],\n "annotations": [}', 2, "this is not JSON: Expecting value in column 18"),
        ("[]", 1, "the file has no list 'images'"),
        ('{"images": [], "annotations": []}', 1, "the file has no list 'categories'"),
    ],
)
def test_file_without_content(tmp_path: Path, content: str, line: int, sentence: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(content)
    reading = read_coco(path)
    assert reading.index.records == ()
    assert any(d.place == line and d.sentence.startswith(sentence) for d in reading.defects)


def test_missing_file(tmp_path: Path) -> None:
    defects = read_coco(tmp_path / "labels.json").defects
    assert [str(defect) for defect in defects] == [
        f"{tmp_path}/labels.json:1: there is no such file"
    ]


def test_clicks_are_read_and_broken_ones_reported(folder: Path) -> None:
    content = json.loads(SOUND)
    content["images"][0]["clicks"] = [
        {"x": 3, "y": 4, "category_id": 3},
        {"x": 5, "y": 6, "category_id": 3, "positive": False},
        {"x": 3, "y": 81, "category_id": 3},
        {"x": 3, "category_id": 3},
        {"x": 3, "y": 4, "category_id": 99},
        [3, 4, 3],
    ]
    (folder / "labels.json").write_text(json.dumps(content))
    reading = read_coco(folder / "labels.json")
    assert reading.index.records[0].clicks == (Click(3, 4, 1), Click(5, 6, 1, positive=False))
    lacks = "lacks x, y or a known category_id; it is left out"
    assert [defect.sentence for defect in reading.defects] == [
        "click 2 is outside the picture of 100 x 80 pixels: 3, 81; it is left out",
        *(f"click {number} {lacks}" for number in (3, 4, 5)),
    ]


def test_pictures_of_a_folder_of_labels_may_lie_elsewhere(folder: Path) -> None:
    labels = folder / "labels"
    labels.mkdir()
    (labels / "some.json").write_text(SOUND)
    assert len(read_coco(labels).index.records) == 0
    assert [one.path for one in read_coco(labels, folder).index.records] == [
        folder / "a.png",
        folder / "b.png",
    ]


def test_file_on_one_line_is_read_alike(folder: Path) -> None:
    (folder / "labels.json").write_text(json.dumps(json.loads(SOUND)))
    assert read_coco(folder / "labels.json").defects == ()
    (folder / "labels.json").write_text(DEFECTIVE)
    before = read_coco(folder / "labels.json").defects
    (folder / "labels.json").write_text(DEFECTIVE.replace("\n", ""))
    assert read_coco(folder / "labels.json").defects == before


def test_corners_and_rotation(folder: Path) -> None:
    content = json.loads(SOUND)
    # A box of 40 x 20 about (50, 40), turned by a right angle: 20 x 40 about the same centre.
    content["annotations"] = [
        {
            "id": 1,
            "image_id": 10,
            "category_id": 3,
            "bbox": [30, 30, 40, 20],
            "attributes": {"occluded": False, "rotation": 90.0},
        },
        {
            "id": 2,
            "image_id": 10,
            "category_id": 3,
            "bbox": [0, 0, 10, 10],
            "corners": [5, 0, 10, 5, 5, 10, 0, 5],
        },
        {"id": 3, "image_id": 10, "category_id": 3, "bbox": [1, 2, 3, 4]},
    ]
    (folder / "labels.json").write_text(json.dumps(content))
    reading = read_coco(folder / "labels.json")
    assert reading.defects == ()
    record = reading.index.records[0]
    np.testing.assert_allclose(record.boxes[0], [40, 20, 60, 60], atol=1e-5)
    assert record.corners is not None
    # The corner that was at the top left, (30, 30), is at the top right now.
    np.testing.assert_allclose(
        record.corners[0], [[60, 20], [60, 60], [40, 60], [40, 20]], atol=1e-5
    )
    assert record.boxes[1].tolist() == [0, 0, 10, 10]
    assert record.corners[1].tolist() == [[5, 0], [10, 5], [5, 10], [0, 5]]
    assert record.corners[2].tolist() == [[1, 2], [4, 2], [4, 6], [1, 6]]


def test_pictures_are_looked_for_where_the_caller_says(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("pictures/a.jpg")
    make_picture("pictures/b.png", 50, 40)
    (tmp_path / "labels.json").write_text(SOUND)
    assert len(read_coco(tmp_path / "labels.json").defects) == 2
    reading = read_coco(tmp_path / "labels.json", tmp_path / "pictures")
    assert reading.defects == ()
    # The name stays, whatever the suffix of the file is.
    assert reading.index.records[0].name == "a.png"
    assert reading.index.records[0].path == tmp_path / "pictures" / "a.jpg"


def test_unopened_pictures_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(SOUND)
    reading = read_coco(tmp_path / "labels.json", open_pictures=False)
    assert reading.defects == ()
    assert [len(record.boxes) for record in reading.index.records] == [2, 1]


def test_names_of_pictures(folder: Path) -> None:
    content = json.loads(SOUND)
    names = ["a.png", "./a.png", str(folder / "a.png"), "b.png", "b" * 300 + ".png"]
    content["images"] = [
        {"id": number, "file_name": name, "name": None} for number, name in enumerate(names)
    ]
    content["annotations"] = []
    (folder / "labels.json").write_text(json.dumps(content))
    reading = read_coco(folder / "labels.json")
    assert [record.name for record in reading.index.records] == ["a.png", "b.png"]
    kinds = [defect.kind for defect in reading.defects if defect.kind != "missing field"]
    assert kinds == ["duplicate picture", "duplicate picture", "missing picture"]


def test_odd_values_are_defects_of_their_entry(folder: Path) -> None:
    whole = '{"id": %d, "image_id": 10, "category_id": 3, "bbox": [%d, 20, 30, 40], %s}'
    content = SOUND.replace('"car"', '" car "').replace(
        "10, 20, 30, 40", "1" + "0" * 400 + ",0,1,1"
    )
    content = content.replace(
        '"tree"}', '"tree"},\n{"id": 4, "name": "\\ud800"},\n{"id": 5, "name": " "}'
    )
    extra = (
        whole % (4, 1, '"iscrowd": "yes"'),
        whole % (5, 2, '"difficult": 2'),
        whole % (6, 3, '"attributes": {"rotation": NaN}'),
        whole % (7, 4, '"attributes": {"rotation": "left"}'),
        '{"id": 8, "image_id": 10, "category_id": 3, "bbox": [40, 20, -30, 40],'
        ' "attributes": {"rotation": 45}}',
        whole % (9, 5, '"difficult": false'),
    )
    content = content.replace('"difficult": 1}\n', '"difficult": 1},\n' + ",\n".join(extra) + "\n")
    path = folder / "labels.json"
    path.write_text(content)
    reading = read_coco(path)
    kept = "which is no number; its box is used without it"
    digits = "1" + "0" * 78
    assert [(defect.place, defect.sentence) for defect in reading.defects] == [
        ("categories[2]", "category 4 has no name; it is left out"),
        ("categories[3]", "category 5 has no name; it is left out"),
        (
            "annotations[0]",
            f"annotation 1 has no bbox of four numbers, but [{digits}; it is left out",
        ),
        ("annotations[3]", 'annotation 4 has iscrowd "yes", neither 0 nor 1; it is read as 0'),
        ("annotations[4]", "annotation 5 has difficult 2, neither 0 nor 1; it is read as 0"),
        ("annotations[5]", f"the rotation of annotation 6 is NaN, {kept}"),
        ("annotations[6]", f'the rotation of annotation 7 is "left", {kept}'),
        ("annotations[7]", "annotation 8 encloses no area: 40, 20, 10, 60; it is left out"),
    ]
    assert reading.index.classes == ("car", "tree")
    assert [len(record.boxes) for record in reading.index.records] == [6, 1]
    # Python decodes no whole number of more than 4300 digits.
    path.write_text(content.replace('{"id": 9,', f'{{"id": {"1" * 5000},'))
    reading = read_coco(path)
    last = reading.defects[-1]
    assert (last.place, last.kind) == ("annotations[8]", "missing field")
    assert [len(record.boxes) for record in reading.index.records] == [6, 1]


def test_a_folder_as_cvat_exports_it(tmp_path: Path, make_picture: Callable[..., Path]) -> None:
    for number, subset in enumerate(("Train", "Validation")):
        make_picture(f"images/{subset}/{number}.png", 20, 10)
        content = {
            "images": [{"id": 1, "file_name": f"{number}.png", "width": 20, "height": 10}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
            "categories": [{"id": 1, "name": "ship"}],
        }
        path = tmp_path / "annotations" / f"instances_{subset}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    (tmp_path / "annotations" / "captions_Train.json").write_text("{}")
    make_picture("images/Train/more.png")
    reading = read_coco(tmp_path)
    assert reading.defects == ()
    assert [record.boxes.tolist() for record in reading.index.records] == [[[1, 2, 4, 6]]] * 2
    assert reading.splits == {"0.png": "train", "1.png": "val"}
    assert reading.unlisted == (tmp_path / "images/Train/more.png",)


def test_the_folder_of_coco_has_a_split(tmp_path: Path, make_picture: Callable[..., Path]) -> None:
    """Of two pictures of one name, each is called after its subset."""
    (tmp_path / "annotations").mkdir()
    for subset in ("train2017", "val2017"):
        for name in ("a.png", f"{subset}.png"):
            make_picture(f"{subset}/{name}")
        images = ", ".join(
            f'{{"id": {number}, "file_name": "{name}", "width": 100, "height": 80}}'
            for number, name in enumerate(("a.png", f"{subset}.png"))
        )
        content = f'{{"categories": [], "annotations": [], "images": [{images}]}}'
        (tmp_path / "annotations" / f"instances_{subset}.json").write_text(content)
    reading = read_coco(tmp_path)
    assert reading.defects == ()
    assert reading.splits == {
        "train2017/a.png": "train",
        "train2017.png": "train",
        "val2017/a.png": "val",
        "val2017.png": "val",
    }
    assert {one.name for one in reading.index.records} == reading.splits.keys()


def test_what_cvat_calls_difficult_is_ignored(folder: Path) -> None:
    content = json.loads(SOUND)
    for number, difficult in enumerate((True, "true", False, None), start=4):
        annotation = {"id": number, "image_id": 10, "category_id": 7, "bbox": [number, 2, 3, 4]}
        content["annotations"].append(annotation | {"attributes": {"difficult": difficult}})
    (folder / "labels.json").write_text(json.dumps(content))
    reading = read_coco(folder / "labels.json")
    assert reading.defects == ()
    assert reading.index.records[0].ignored.tolist() == [False, True, True, True, False, False]


def test_a_folder_without_json(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    assert [str(defect) for defect in read_coco(tmp_path).defects] == [
        f"{tmp_path}:1: there is no JSON file in this folder, but a.txt"
    ]


@pytest.mark.parametrize(
    ("picture", "of_picture", "category", "of_category"),
    [
        ('"9f3a-a.png"', '"9f3a-a.png"', '"car"', '"car"'),
        ('"10"', "10", "7.0", '"7"'),
        ("10.0", "10.0", "7", "7.0"),
    ],
)
def test_ids_may_be_texts_and_numbers_with_a_point(
    folder: Path, picture: str, of_picture: str, category: str, of_category: str
) -> None:
    (folder / "labels.json").write_text(
        f'{{"categories": [{{"id": {category}, "name": "car"}}], "images": ['
        f'{{"id": {picture}, "file_name": "a.png", "width": 100, "height": 80}}], "annotations": ['
        f'{{"id": "x", "image_id": {of_picture}, "category_id": {of_category}, '
        '"bbox": [1, 2, 3, 4]}]}'
    )
    reading = read_coco(folder / "labels.json")
    assert reading.defects == ()
    assert reading.index.records[0].boxes.tolist() == [[1, 2, 4, 6]]


@pytest.mark.parametrize(
    "name", ["/content/data/deep/c.png", "C:\\\\data\\\\deep\\\\c.png", "d:/deep/c.png"]
)
def test_a_path_of_another_machine_is_looked_for_by_its_end(
    name: str, folder: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("deep/c.png")
    (folder / "labels.json").write_text(SOUND.replace("a.png", name))
    reading = read_coco(folder / "labels.json")
    assert reading.defects == ()
    assert reading.index.records[0].path == folder / "deep" / "c.png"
    (note,) = reading.notes
    found = "1 picture is found by the end of an absolute path, such as"
    assert note.startswith(f"{found} {folder / 'deep' / 'c.png'} for ")


def test_a_folder_as_roboflow_exports_it(tmp_path: Path, make_picture: Callable[..., Path]) -> None:
    for subset, name in (("train", "a.png"), ("valid", "b.png")):
        make_picture(f"{subset}/{name}")
        image = f'{{"id": 10, "file_name": "{name}", "width": 100, "height": 80}}'
        content = f'{{"categories": [], "annotations": [], "images": [{image}]}}'
        (tmp_path / subset / "_annotations.coco.json").write_text(content)
    reading = read_coco(tmp_path)
    assert reading.defects == ()
    assert [record.name for record in reading.index.records] == ["a.png", "b.png"]
    assert reading.splits == {"a.png": "train", "b.png": "val"}


def test_without_a_bbox_it_is_around_the_polygons_or_the_mask(folder: Path) -> None:
    content = json.loads(SOUND)
    square, triangle = [10, 20, 30, 20, 30, 40, 10, 40], [40.5, 2, 50, 2, 45, 6]
    for number, (bbox, segmentation) in enumerate(
        [
            (None, [square]),
            ([], [triangle, square]),
            ([1, 2, 3, 4], [square]),
            (None, [[1, 2, 3]]),
            (None, {"size": [80, 100], "counts": [7990, 5, 5]}),
            (None, {"size": [80, 100], "counts": COMPRESSED}),
            (None, {"size": [80, 100], "counts": [9000, 5]}),
            (None, [square, 5]),
        ],
        start=10,
    ):
        annotation = {"id": number, "image_id": 10, "category_id": 7, "segmentation": segmentation}
        content["annotations"].append(annotation | ({} if bbox is None else {"bbox": bbox}))
    (folder / "labels.json").write_text(json.dumps(content))
    reading = read_coco(folder / "labels.json")
    assert reading.index.records[0].boxes.tolist()[2:] == [
        [10, 20, 30, 40],
        [10, 2, 50, 40],
        [1, 2, 4, 6],
        [99, 70, 100, 75],  # five pixels of the last column, from its row 70 on
        [60, 50, 62, 53],
    ]
    assert [defect.kind for defect in reading.defects] == ["missing field"] * 3
    assert reading.notes == (
        "4 objects have no bbox, polygons and masks are read as the box around them",
    )


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), min_size=1, max_size=12),
    st.text(alphabet=[chr(code) for code in range(32, 127)], max_size=12),
)
def test_masks_have_the_box_that_pycocotools_finds(
    pixels: list[tuple[int, int]], spoiled: str
) -> None:
    drawn = np.zeros((7, 10), np.uint8, order="F")
    for x, y in pixels:
        drawn[y, x] = 1
    coded = mask.encode(drawn)
    x, y, width, height = mask.toBbox(coded).tolist()
    wanted = (x, y, x + width, y + height)
    text = coded["counts"].decode("ascii")
    assert _around({"size": [7, 10], "counts": text}) == wanted
    runs = np.diff(np.flatnonzero(np.diff(drawn.ravel("F"), prepend=0, append=2)), prepend=0)
    assert _around({"size": [7, 10], "counts": [int(run) for run in runs]}) == wanted
    found = _around({"size": [7, 10], "counts": text[:3] + spoiled})
    assert found is None or (0 <= found[0] < found[2] <= 10 and 0 <= found[1] < found[3] <= 7)
