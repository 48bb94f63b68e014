from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

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
    assert first.difficult.tolist() == first.ignored.tolist() == [False, True]
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
    assert [(defect.line, defect.sentence) for defect in reading.defects] == [
        (11, f"shape 2 (box) has the label 'wing', which is not in meta{out}"),
        (12, f"shape 3 (box) has xtl='one', which is no number{out}"),
        (13, f"shape 4 (box) has ybr=None, which is no number{out}"),
        (14, f"shape 5 (box) has xtl='nan', which is no number{out}"),
        (15, f"shape 6 (box) encloses no area: 9, 1, 1, 9{out}"),
        (16, f"shape 7 (box) is outside {of_100}: 200, 1, 210, 9{out}"),
        (17, f"shape 8 (box) reaches 2.5 px out of {of_100}: -2.5, 1, 9, 9; it is cut"),
        (18, f"shape 9 (box) is the same as the object in line 10{out}"),
        (19, "shape 10 (polygon) is left out: only boxes and points are read"),
        (20, f"point 2 of shape 11 (points) is 'x', not x,y{out}"),
        (20, f"point 3 of shape 11 (points) is outside {of_100}: 300, 5{out}"),
        (21, "shape 12 (tag) is left out: only boxes and points are read"),
        (23, "the id 0 is taken by line 9; the picture is kept"),
        (23, "the name a.png is taken; it is left out with its objects"),
        (24, f"there is no picture {images}/gone.png{out}"),
        (25, f"{images}/b.png is 50 x 40 pixels large, not 50 x 41 as stated; "
             "the picture is left out"),
        (26, "the picture has no name; it is left out with its objects"),
        (27, "the picture has no width and height, but None and None"),
        (28, 'a track is left out: export "CVAT for images 1.1", not "for video"'),
    ]  # fmt: skip
    first, second = reading.index.records
    assert first.boxes.tolist() == [[1, 1, 9, 9], [0, 1, 9, 9]]
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


def test_turn_and_size_without_end(export: Path) -> None:
    box = '<box label="ship" xtl="40" ytl="30" xbr="60" ybr="50" rotation="inf"/>'
    text = (
        HEAD + f'<image name="a.png" width="{"9" * 5000}" height="80">\n{box}</image></annotations>'
    )
    (export / "annotations.xml").write_text(text)
    reading = read_cvat_xml(export / "annotations.xml")
    assert [(defect.line, defect.kind) for defect in reading.defects] == [
        (9, "missing field"),
        (10, "not a number"),
    ]
    assert "has rotation='inf', which is no number" in reading.defects[1].sentence
    assert reading.index.records[0].width == 100
