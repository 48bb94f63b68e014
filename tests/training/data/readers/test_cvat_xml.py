from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from c3det.clicks import Click
from training.data.readers.cvat_xml import read_cvat_xml

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>5</id><labels>
    <label><name>ship</name><color>#ff0000</color><type>any</type><attributes/></label>
    <label><name>plane</name><type>any</type></label>
    <label><name>wing</name><type>points</type><parent>plane</parent></label>
  </labels></task></meta>
"""

SOUND = (
    HEAD
    + """  <image id="0" name="a.png" width="100" height="80">
    <box label="plane" source="manual" occluded="0" xtl="10.00" ytl="20.00" xbr="40.50"
         ybr="60.00" z_order="0"></box>
    <box label="ship" occluded="0" xtl="30" ytl="30" xbr="70" ybr="50" rotation="90.00">
      <attribute name="difficult">true</attribute>
    </box>
    <points label="plane" points="12.00,22.00;1.50,2.50" z_order="0"></points>
  </image>
  <image id="1" name="frame_000001" width="50" height="40"/>
</annotations>
"""
)

# The first picture begins in line 9.
DEFECTIVE = (
    HEAD
    + """<image id="0" name="a.png" width="100" height="80">
<box label="plane" xtl="1" ytl="1" xbr="9" ybr="9"/>
<box label="wing" xtl="1" ytl="1" xbr="9" ybr="9"/>
<box label="plane" xtl="one" ytl="1" xbr="9" ybr="9"/>
<box label="plane" xtl="1" ytl="1" xbr="9"/>
<box label="plane" xtl="nan" ytl="1" xbr="9" ybr="9"/>
<box label="plane" xtl="9" ytl="1" xbr="1" ybr="9"/>
<box label="plane" xtl="200" ytl="1" xbr="210" ybr="9"/>
<box label="plane" xtl="-2.5" ytl="1" xbr="9" ybr="9"/>
<box label="plane" xtl="1" ytl="1" xbr="9" ybr="9"/>
<polygon label="plane" points="1,1;2,2;3,1"/>
<points label="plane" points="5,5;x;300,5"/>
<tag label="plane"/>
</image>
<image id="0" name="a.png" width="100" height="80"/>
<image id="2" name="gone.png" width="100" height="80"/>
<image id="3" name="b.png" width="50" height="41"/>
<image id="4" width="50" height="40"/>
<image id="5" name="b.png"/>
<track id="0" label="plane"/>
</annotations>
"""
)


@pytest.fixture
def export(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    """A folder as CVAT exports it."""
    make_picture("images/a.png")
    make_picture("images/b.png", 50, 40)
    # CVAT names frames of a video without a suffix.
    make_picture("images/frame_000001.png", 50, 40)
    return tmp_path


def test_sound_export(export: Path) -> None:
    (export / "annotations.xml").write_text(SOUND)
    reading = read_cvat_xml(export / "annotations.xml")
    assert reading.defects == ()
    assert reading.index.classes == ("ship", "plane")
    first, second = reading.index.records
    assert (first.name, first.path) == ("a.png", export / "images" / "a.png")
    assert first.labels.tolist() == [1, 0]
    assert first.ignored.tolist() == [False, True]
    # A box of 40 x 20 about (50, 40), turned clockwise by a right angle.
    np.testing.assert_allclose(first.boxes, [[10, 20, 40.5, 60], [40, 20, 60, 60]], atol=1e-5)
    assert first.corners is not None
    np.testing.assert_allclose(
        first.corners[1], [[60, 20], [60, 60], [40, 60], [40, 20]], atol=1e-5
    )
    assert first.corners[0].tolist() == [[10, 20], [40.5, 20], [40.5, 60], [10, 60]]
    assert first.clicks == (Click(12, 22, 1), Click(1.5, 2.5, 1))
    assert (second.name, second.path.name) == ("frame_000001", "frame_000001.png")
    assert second.boxes.shape == (0, 4)
    assert second.corners is None


def test_turn_is_clockwise_on_the_screen(export: Path) -> None:
    # 45 degrees: the corner at the top left goes to the top, half a diagonal above the centre.
    box = '<box label="ship" xtl="40" ytl="30" xbr="60" ybr="50" rotation="45"/>'
    text = HEAD + f'<image id="0" name="a.png" width="100" height="80">{box}</image></annotations>'
    (export / "annotations.xml").write_text(text)
    record = read_cvat_xml(export / "annotations.xml").index.records[0]
    half = 10 * 2**0.5
    assert record.corners is not None
    np.testing.assert_allclose(
        record.corners[0], [[50, 40 - half], [50 + half, 40], [50, 40 + half], [50 - half, 40]],
        atol=1e-4,
    )  # fmt: skip
    np.testing.assert_allclose(
        record.boxes[0], [50 - half, 40 - half, 50 + half, 40 + half], atol=1e-4
    )


def test_every_defect_is_reported_and_the_rest_read(export: Path) -> None:
    path = export / "annotations.xml"
    path.write_text(DEFECTIVE)
    reading = read_cvat_xml(path)
    images = export / "images"
    out = "; it is left out"
    of_100 = "the picture of 100 x 80 pixels"
    assert all(defect.file == path for defect in reading.defects)
    assert [(defect.place, defect.sentence) for defect in reading.defects] == [
        (11, f"shape 2 (box) has the label 'wing', which is not in meta{out}"),
        (12, f"shape 3 (box) has xtl='one', which is no number{out}"),
        (13, f"shape 4 (box) has ybr=None, which is no number{out}"),
        (14, f"shape 5 (box) has xtl='nan', which is no number{out}"),
        (15, f"shape 6 (box) encloses no area: 9, 1, 1, 9{out}"),
        (16, f"shape 7 (box) is outside {of_100}: 200, 1, 210, 9{out}"),
        (17, f"shape 8 (box) reaches 2.5 px out of {of_100}: -2.5, 1, 9, 9; it is cut"),
        (18, f"shape 9 (box) is the same as the object in line 10{out}"),
        (20, f"point 2 of shape 11 (points) is 'x', not x,y{out}"),
        (20, f"point 3 of shape 11 (points) is outside {of_100}: 300, 5{out}"),
        (21, "shape 12 (tag) is left out: read are box, points, polygon, ellipse, mask"),
        (23, "the id 0 is taken by line 9; the picture is kept"),
        (23, "the name a.png is taken; it is left out with its objects"),
        (24, f"there is no picture {images}/gone.png{out}"),
        (25, f"{images}/b.png is 50 x 40 pixels large, not 50 x 41 as stated; "
             "the picture is left out"),
        (26, "the picture has no name; it is left out with its objects"),
        (27, "the picture has no width and height, but None and None"),
    ]  # fmt: skip
    first, second = reading.index.records
    assert first.boxes.tolist() == [[1, 1, 9, 9], [0, 1, 9, 9], [1, 1, 3, 2]]
    assert reading.notes == ("1 polygon is read as its bounding box",)
    assert first.clicks == (Click(5, 5, 1),)
    assert (second.name, second.width, second.height) == ("b.png", 50, 40)


def test_pictures_of_a_project_lie_in_folders_of_their_subsets(
    export: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("images/Train/a.png", 60, 50)
    text = HEAD.replace("task>", "project>") + (
        '<image id="0" name="a.png" subset="Train" task_id="1" width="60" height="50"/>'
        '<image id="1" name="a.png" subset="Test" task_id="2" width="100" height="80"/>'
        "</annotations>"
    )
    (export / "annotations.xml").write_text(text)
    reading = read_cvat_xml(export / "annotations.xml")
    assert reading.defects == ()
    assert reading.index.classes == ("ship", "plane")
    assert [(record.name, record.width) for record in reading.index.records] == [
        ("Train/a.png", 60),
        ("Test/a.png", 100),
    ]


@pytest.mark.parametrize(
    ("content", "defect"),
    [
        ("<annotations>\n<image>\n", "3: this is not well-formed XML: no element found"),
        ("<dataset/>", "1: the file begins with <dataset>, not <annotations>: it is not CVAT's"),
        ("<annotations/>", "1: the file has no labels in meta, so that every class is unknown"),
    ],
)
def test_file_that_is_none(tmp_path: Path, content: str, defect: str) -> None:
    path = tmp_path / "annotations.xml"
    path.write_text(content)
    reading = read_cvat_xml(path)
    assert reading.index.records == ()
    assert [str(one).startswith(f"{path}:{defect}") for one in reading.defects] == [True]


def test_picture_of_two_subsets_is_one(export: Path) -> None:
    images = [
        f'<image id="{number}" name="a.png" subset="{subset}" width="100" height="80"/>\n'
        for number, subset in enumerate(("Train", "Test"))
    ]
    (export / "annotations.xml").write_text(f"{HEAD}{''.join(images)}</annotations>")
    reading = read_cvat_xml(export / "annotations.xml")
    assert [record.name for record in reading.index.records] == ["Train/a.png"]
    assert [defect.sentence for defect in reading.defects] == [
        f"the picture {export}/images/a.png is that of line 9; it is left out"
    ]


def test_sublabels_are_no_classes_whatever_they_are_called(export: Path) -> None:
    """A skeleton's point may be called like a label of boxes, and like that of another skeleton."""
    sublabels = "".join(
        f"<label><name>{name}</name><type>points</type><parent>{parent}</parent></label>"
        for name, parent in (("ship", "plane"), ("wing", "plane"), ("wing", "ship"), ("", "ship"))
    )
    head = HEAD.replace("<labels>", f"<labels>{sublabels}").replace(
        "</labels>", f"{sublabels}</labels>"
    )
    box = '<box label="ship" xtl="1" ytl="1" xbr="9" ybr="9"/>'
    image = f'<image id="0" name="a.png" width="100" height="80">{box}</image>'
    (export / "annotations.xml").write_text(f"{head}{image}</annotations>")
    reading = read_cvat_xml(export)
    assert reading.defects == ()
    assert reading.index.classes == ("ship", "plane")
    assert {path.name for path in reading.unlisted} == {"b.png", "frame_000001.png"}


def test_bounding_boxes_of_other_shapes(export: Path) -> None:
    shapes = (
        '<polygon label="ship" points="10,20;30,25;20,60"/>'
        '<ellipse label="ship" cx="50" cy="40" rx="20" ry="10"/>'
        '<ellipse label="ship" cx="50" cy="40" rx="20" ry="10" rotation="90"/>'
        '<mask label="ship" rle="1, 2" left="3" top="4" width="5" height="6"/>'
        '<polygon label="ship" points="10,20;30"/>'
        '<polyline label="ship" points="1,1;2,2"/><cuboid label="ship"/><skeleton label="ship"/>'
    )
    image = f'<image id="0" name="a.png" width="100" height="80">{shapes}</image>'
    (export / "annotations.xml").write_text(f"{HEAD}{image}</annotations>")
    reading = read_cvat_xml(export / "annotations.xml")
    np.testing.assert_allclose(
        reading.index.records[0].boxes,
        [[10, 20, 30, 60], [30, 30, 70, 50], [40, 20, 60, 60], [3, 4, 8, 10]],
        atol=1e-5,
    )
    assert reading.index.records[0].corners is None
    assert Counter(defect.kind for defect in reading.defects) == {
        "not a number": 1,
        "unsupported shape": 3,
    }
    assert reading.notes == (
        "2 ellipses are read as their bounding boxes",
        "1 mask is read as its bounding box",
        "1 polygon is read as its bounding box",
    )


def test_subsets_are_splits(export: Path) -> None:
    images = "".join(
        f'<image id="{name}" name="{name}.png" subset="{subset}" width="{w}" height="{h}"/>'
        for name, subset, w, h in (("a", "Train", 100, 80), ("b", "Validation", 50, 40))
    )
    (export / "annotations.xml").write_text(f"{HEAD}{images}</annotations>")
    assert read_cvat_xml(export).splits == {"Train/a.png": "train", "Validation/b.png": "val"}


VIDEO = (
    HEAD.replace(
        "<id>5</id>",
        "<id>5</id><mode>interpolation</mode>"
        "<original_size><width>50</width><height>40</height></original_size>",
    )
    + """<track id="0" label="ship" source="manual">
<box frame="0" keyframe="1" outside="0" occluded="0" xtl="1.00" ytl="2.00" xbr="9.00" ybr="8.00"/>
<box frame="1" keyframe="0" outside="0" occluded="0" xtl="2.00" ytl="2.00" xbr="10.00" ybr="8.00"/>
<box frame="2" keyframe="1" outside="1" occluded="0" xtl="3.00" ytl="2.00" xbr="11.00" ybr="8.00"/>
</track>
<track id="1" label="plane" source="manual">
<box frame="1" keyframe="1" outside="0" occluded="0" xtl="20" ytl="20" xbr="30" ybr="30"
 rotation="90"><attribute name="difficult">true</attribute></box>
<polygon frame="7" keyframe="1" outside="0" occluded="0" points="1,1;9,1;9,9"/>
<box frame="x" keyframe="1" outside="0" xtl="20" ytl="20" xbr="30" ybr="30"/>
<points frame="0" outside="0" points="5,6"/>
</track>
</annotations>
"""
)


def test_tracks_are_read_frame_by_frame(tmp_path: Path, make_picture: Callable[..., Path]) -> None:
    for frame in range(4):
        # CVAT writes the suffix in capital letters.
        make_picture(f"images/frame_{frame:06d}.PNG", 50, 40)
    (tmp_path / "annotations.xml").write_text(VIDEO)
    reading = read_cvat_xml(tmp_path)
    names = [f"frame_{frame:06d}" for frame in range(4)]
    assert [record.name for record in reading.index.records] == names
    boxes = [record.boxes.tolist() for record in reading.index.records]
    assert boxes == [[[1, 2, 9, 8]], [[2, 2, 10, 8], [20, 20, 30, 30]], [], []]
    first, second = reading.index.records[:2]
    assert first.clicks == (Click(5, 6, 1),)
    assert second.labels.tolist() == [0, 1]
    assert second.ignored.tolist() == [False, True]
    assert second.corners is not None
    assert [(defect.place, defect.sentence) for defect in reading.defects] == [
        (17, f"there is no picture {tmp_path}/images/frame_000007; it is left out"),
        (18, "shape 3 (box) of the track has frame='x', which is no number; it is left out"),
    ]


def test_frames_of_another_size_are_refused(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("images/frame_000000.png", 25, 20)
    (tmp_path / "annotations.xml").write_text(VIDEO)
    kinds = [defect.kind for defect in read_cvat_xml(tmp_path).defects]
    assert kinds.count("other picture size") == 1


def test_a_video_without_its_frames_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(VIDEO)
    reading = read_cvat_xml(tmp_path / "annotations.xml")
    assert [defect.kind for defect in reading.defects].count("missing picture") == 3
    assert reading.notes == (
        f"none of the pictures of {tmp_path}/annotations.xml is in {tmp_path}: export it from CVAT "
        'with "Save images", or name the folder of the pictures (--images)',
    )


def test_pictures_exported_as_a_video_have_lost_their_names(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    make_picture("images/a.png", 50, 40)
    (tmp_path / "annotations.xml").write_text(VIDEO.replace("interpolation", "annotation"))
    assert (
        'this is a task of pictures, and "CVAT for video" does not hold their names: export '
        '"CVAT for images 1.1"'
    ) in [defect.sentence for defect in read_cvat_xml(tmp_path).defects]


def test_two_videos_of_one_subset_are_told_apart(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    tracks = "".join(
        f'<track id="{task}" label="ship" task_id="{task}" subset="{subset}">\n'
        '<box frame="0" outside="0" xtl="1" ytl="2" xbr="9" ybr="8"/></track>\n'
        for task, subset in ((1, "Train"), (2, "Train"), (3, "Test"))
    )
    make_picture("images/Train/frame_000000.png")
    make_picture("images/Test/frame_000000.png")
    (tmp_path / "annotations.xml").write_text(f"{HEAD}{tracks}</annotations>")
    reading = read_cvat_xml(tmp_path)
    assert reading.splits == {"Train/frame_000000": "train", "Test/frame_000000": "test"}
    (defect,) = reading.defects
    assert (defect.place, defect.kind) == (11, "duplicate picture")


def test_folder_without_a_file_or_with_several(tmp_path: Path) -> None:
    sentence = "there is no annotations.xml in this folder, but nothing"
    assert [defect.sentence for defect in read_cvat_xml(tmp_path).defects] == [sentence]
    files = [f"{name}/annotations.xml" for name in ("one", "two")]
    for file in files:
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("")
    assert [defect.sentence for defect in read_cvat_xml(tmp_path).defects] == [
        f"there is more than one file, {', '.join(files)}: name the one to read"
    ]


letters = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), max_size=6)
values = st.one_of(letters, st.floats().map(str), st.integers().map(str), st.just("1,2;3,9;7,8"))
keys = ["points", "xtl", "ytl", "xbr", "ybr", "rotation", "cx", "cy", "rx", "ry"]
keys += ["left", "top", "width", "height", "outside", "subset"]
shapes = st.builds(
    lambda tag, given: (
        f"<{tag} " + " ".join(f"{k}={quoteattr(v)}" for k, v in given.items()) + "/>"
    ),
    st.sampled_from(["box", "points", "polygon", "ellipse", "mask", "tag", "skeleton"]),
    st.fixed_dictionaries(
        {"label": st.just("ship"), "frame": st.one_of(st.just("0"), values)},
        optional=dict.fromkeys(keys, values),
    ),
)


@settings(deadline=None, max_examples=100)
@given(st.lists(shapes, max_size=3).map("".join), letters, letters)
def test_no_shape_stops_the_reader(content: str, name: str, subset: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for picture in ("a.png", "frame_000000.png"):
            Image.new("RGB", (10, 8)).save(Path(folder, picture))
        path = Path(folder, "annotations.xml")
        for text in (
            f'<image name="a.png" width="10" height="8">{content}</image>',
            f"<image name={quoteattr(name)} subset={quoteattr(subset)}/>",
            f'<track label="ship" subset={quoteattr(subset)}>{content}</track>',
        ):
            path.write_text(f"{HEAD}{text}</annotations>", encoding="utf-8")
            for record in read_cvat_xml(path).index.records:
                assert np.isfinite(record.boxes).all()
                assert (record.boxes[:, 2:] > record.boxes[:, :2]).all()


def test_turn_and_size_without_end(export: Path) -> None:
    box = '<box label="ship" xtl="40" ytl="30" xbr="60" ybr="50" rotation="inf"/>'
    text = (
        HEAD + f'<image name="a.png" width="{"9" * 5000}" height="80">\n{box}</image></annotations>'
    )
    (export / "annotations.xml").write_text(text)
    reading = read_cvat_xml(export / "annotations.xml")
    assert [(defect.place, defect.kind) for defect in reading.defects] == [
        (9, "missing field"),
        (10, "not a number"),
    ]
    assert "has rotation='inf', which is no number" in reading.defects[1].sentence
    assert reading.index.records[0].width == 100
