"""The clicks of a frame, and which of the boxes found become rectangles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from c3det.clicks import Click, LabelledBox
from serverless.annotate.cvat import Label, Shape
from serverless.annotate.errors import AnnotateError
from serverless.annotate.overlap import Rectangle, overlaps
from serverless.protocol import Box

SAME_OBJECT_IOU = 0.5
"""From this overlap on, two rectangles of one label are taken for one object."""


PEOPLE = ("manual", "file")
"""Sources of what people placed, in CVAT or in a file that they uploaded."""


class Unused(NamedTuple):
    """Shapes that give no clicks and are not compared with boxes; the reason ends a sentence."""

    type: str
    label_id: int
    reason: str


@dataclass(frozen=True)
class LabelMap:
    """Which label of the task is which class of the function.

    Attributes:
        classes: Names of the function's classes; of an open one, of the task's labels.
        class_of: Class index by id of a label.
        label_of: Label that the boxes of a class get, by class index.
        unknown: What is wrong with a label that has no class, the end of a sentence.
    """

    classes: tuple[str, ...]
    class_of: Mapping[int, int]
    label_of: Mapping[int, Label]
    unknown: str

    def name_of(self, box: Box) -> str:
        """Name of the class of a box."""
        return self.classes[self._index(box)]

    def label_for(self, box: Box) -> Label | None:
        """Label that a box gets, ``None`` where the task has none for it."""
        return self.label_of.get(self._index(box))

    def _index(self, box: Box) -> int:
        assert box.label is not None  # checked by checked_boxes()
        return box.label


@dataclass(frozen=True)
class PlacedClick:
    """A click that a person placed: one of a shape of points, or the centre of a rectangle."""

    click: Click
    shape: Shape


@dataclass
class SortedBoxes:
    """The boxes of a frame.

    Attributes:
        chosen: The boxes that become rectangles, with their labels.
        unlabelled: Boxes of classes without a label in the task.
        drawn: Boxes of objects that have a rectangle already.
    """

    chosen: list[tuple[Box, Label]] = field(default_factory=list)
    unlabelled: list[Box] = field(default_factory=list)
    drawn: list[Box] = field(default_factory=list)


def map_labels(
    labels: Sequence[Label], classes: tuple[str, ...], pairs: Iterable[tuple[str, str]]
) -> LabelMap:
    """Find the class of each label, by pairs of label and class or else by the names.

    An open model has no classes and takes the labels for them. Where several labels have one class,
    its boxes get the label of the same name, or else that of the first pair.

    Raises:
        AnnotateError: A pair names something that is not there, or no label has a class.
    """
    is_open = not classes
    if is_open:
        classes = tuple(label.name for label in labels if label.takes_rectangles)
        unknown = "which takes no rectangles: name the label of its boxes with --label"
    else:
        unknown = f"which is no class of the function ({', '.join(classes)})"
    by_name = {label.name: label for label in labels}
    class_of = {label.id: classes.index(label.name) for label in labels if label.name in classes}
    label_of = {
        class_of[label.id]: label
        for label in labels
        if label.id in class_of and label.takes_rectangles
    }
    for label_name, class_name in pairs:
        if label_name not in by_name:
            raise AnnotateError(
                f"--label {label_name}={class_name}: the task has no label {label_name!r}, it has "
                f"{', '.join(by_name)}"
            )
        if class_name not in classes:
            raise AnnotateError(
                f"--label {label_name}={class_name}: the function has no class {class_name!r}, it "
                f"has {', '.join(classes)}"
            )
        label, index = by_name[label_name], classes.index(class_name)
        class_of[label.id] = index
        if label.takes_rectangles:
            label_of.setdefault(index, label)
    if is_open and not label_of:
        raise AnnotateError(
            f"no label of the task ({', '.join(by_name)}) takes rectangles: add one to the task"
        )
    if not label_of:
        raise AnnotateError(
            f"no label of the task ({', '.join(by_name)}) is a class of the function "
            f"({', '.join(classes)}): say which is which with --label LABEL=CLASS"
        )
    return LabelMap(classes, class_of, label_of, unknown)


def placed_clicks(shapes: Iterable[Shape], labels: LabelMap) -> list[PlacedClick]:
    """Return the clicks in some shapes: each point, and the centre of each rectangle.

    Only shapes that people made or uploaded count, and of these only those whose label has a class;
    `unused_shapes` counts the others.
    """
    clicks = []
    for shape in shapes:
        label = labels.class_of.get(shape.label_id)
        if label is None or shape.source not in PEOPLE:
            continue
        if shape.type == "points":
            pairs = list(zip(shape.points[::2], shape.points[1::2], strict=True))
        elif shape.type == "rectangle":
            pairs = [Rectangle(shape.points).centre]
        else:
            continue
        clicks += [PlacedClick(Click(x, y, label), shape) for x, y in pairs]
    return clicks


def labelled(shapes: Iterable[Shape], labels: LabelMap) -> tuple[list[Click], list[LabelledBox]]:
    """Return the labels that people gave to a frame: points as clicks, rectangles as boxes.

    Rectangles are those that people drew, uploaded or accepted; of a rotated one the upright box
    around it.
    """
    clicks, boxes = [], []
    for shape in shapes:
        label = labels.class_of.get(shape.label_id)
        accepted = shape.source == "semi-auto" and shape.group == 0
        if label is None:
            continue
        if shape.type == "points" and shape.source in PEOPLE:
            pairs = zip(shape.points[::2], shape.points[1::2], strict=True)
            clicks += [Click(x, y, label) for x, y in pairs]
        elif shape.type == "rectangle" and (accepted or shape.source in PEOPLE):
            x1, y1, x2, y2 = Rectangle(shape.points, shape.rotation).hull
            if x1 < x2 and y1 < y2:
                boxes.append(LabelledBox(x1, y1, x2, y2, label))
    return clicks, boxes


def unused_shapes(shapes: Iterable[Shape], labels: LabelMap) -> Counter[Unused]:
    """Count the unused shapes.

    Rectangles that no person drew are used: boxes on the same object are left out.
    """
    found: Counter[Unused] = Counter()
    for shape in shapes:
        if shape.type not in ("points", "rectangle"):
            reason = "which are neither points nor rectangles"
        elif shape.label_id not in labels.class_of:
            reason = labels.unknown
        elif shape.type == "points" and shape.source not in PEOPLE:
            reason = f"whose source is {shape.source}: no person placed them"
        else:
            continue
        found[Unused(shape.type, shape.label_id, reason)] += 1
    return found


def sort_boxes(
    boxes: Sequence[Box],
    clicks: Sequence[PlacedClick],
    staying: Iterable[Shape],
    labels: LabelMap,
) -> SortedBoxes:
    """Choose the boxes that become rectangles.

    Args:
        boxes: What the function found.
        clicks: Of the request.
        staying: Shapes of the frame that will still be there; those that are rectangles count.
        labels: The classes.
    """
    rectangles: dict[int, list[Rectangle]] = {}
    for shape in staying:
        if shape.type == "rectangle":
            rectangle = Rectangle(shape.points, shape.rotation)
            rectangles.setdefault(shape.label_id, []).append(rectangle)
    found = SortedBoxes()
    for box in boxes:
        label = labels.label_for(box)
        if label is None:
            found.unlabelled.append(box)
        elif (
            any(clicks[index].shape.type == "rectangle" for index in box.clicks)
            or (
                overlaps(Rectangle(box.points, box.rotation), rectangles.get(label.id, []))
                >= SAME_OBJECT_IOU
            ).any()
        ):
            found.drawn.append(box)
        else:
            found.chosen.append((box, label))
    return found


def is_machine_made(shape: Shape, labels: LabelMap) -> bool:
    """Tell whether a shape is a rectangle of a run, or of CVAT's automatic annotation.

    Proposals that a person accepted have the source of a run, but no group; they are not. One of a
    run that a person corrected is: CVAT keeps its source and its group.
    """
    return (
        shape.type == "rectangle"
        and (shape.source == "auto" or (shape.source == "semi-auto" and shape.group != 0))
        and any(shape.label_id == label.id for label in labels.label_of.values())
    )
