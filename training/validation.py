"""Validation in the course of training: average precision of the detector, and drawn pictures.

The detector gets the same pictures with each of a few numbers of clicks. Measured is its own
output: with the boxes of the clicks put in (passthrough) it would be hidden whether it learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS
from mmengine.runner import Runner
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from c3det.clicks import Click
from c3det.detections import Detections
from training.data.annotated import Annotated
from training.evaluation.metrics import average_precision, match, mean_over_classes

CLICK_COUNTS = (0, 5)
SHOWN_SCORE = 0.3
"""Lowest score of the boxes that are drawn, and that an annotator who corrects errors sees."""

ENLARGED = 2
"""Times that a drawn picture is enlarged."""

PALETTE = (
    "#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231",
    "#911eb4", "#42d4f4", "#f032e6", "#bfef45",
)  # fmt: skip


def to_detections(boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
    """Bring a detector's boxes (N, 4), scores (N,) and labels (N,) out of torch."""
    return Detections(
        boxes.float().cpu().numpy(),
        scores.float().cpu().numpy(),
        labels.cpu().numpy(),
        np.full(len(boxes), -1, np.int64),
    )


@METRICS.register_module()
class ClickedPrecision(BaseMetric):
    """Average precision at IoU 0.5, a mean over the classes, after each number of clicks.

    ``AP`` is the mean of them all, ``AP_<n>_clicks`` that after ``n`` clicks; all are in percent.

    Args:
        pictures: That are validated on.
        counts: Numbers of clicks.
        classes: Number of classes.
    """

    def __init__(self, pictures: Sequence[Annotated], counts: Sequence[int], classes: int) -> None:
        super().__init__()
        self.pictures = tuple(pictures)
        self.counts = tuple(counts)
        self.classes = classes

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep what was found in a batch."""
        for sample in data_samples:
            found = sample["pred_instances"]
            self.results.append(
                (
                    sample["clicks_given"],
                    sample["picture"],
                    to_detections(found["bboxes"], found["scores"], found["labels"]),
                )
            )

    def compute_metrics(self, results: Sequence[tuple[int, int, Detections]]) -> dict[str, float]:
        """Compare it with the objects."""
        precisions = {}
        for count in self.counts:
            found = {picture: one for given, picture, one in results if given == count}
            detections = [found[number] for number in range(len(self.pictures))]
            weights = np.ones((1, len(self.pictures)), np.int64)
            (matches,) = match(self.pictures, detections, range(self.classes))
            by_class = np.stack([average_precision(one, weights) for one in matches])
            precisions[f"AP_{count}_clicks"] = 100 * float(mean_over_classes(by_class)[0])
        return {"AP": float(np.mean(list(precisions.values()))), **precisions}


@HOOKS.register_module()
class PicturesHook(Hook):
    """Puts the first validation pictures among the run's scalars, with boxes and clicks.

    Args:
        classes: Names by label.
        number: Of pictures, for each number of clicks.
    """

    def __init__(self, classes: Sequence[str], number: int = 4) -> None:
        self.classes = tuple(classes)
        self.number = number

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Draw those pictures of a batch that are among the first."""
        for inputs, sample in zip(data_batch["inputs"], outputs, strict=True):
            if sample.picture >= self.number:
                continue
            found = sample.pred_instances
            drawn = draw(
                inputs.permute(1, 2, 0).numpy(),
                to_detections(found.bboxes, found.scores, found.labels),
                sample.clicks,
                self.classes,
            )
            name = f"picture_{sample.picture}_after_{sample.clicks_given}_clicks"
            runner.visualizer.add_image(name, drawn, runner.iter)


def draw(
    image: NDArray[np.uint8],
    detections: Detections,
    clicks: Sequence[Click],
    classes: Sequence[str],
) -> NDArray[np.uint8]:
    """Draw boxes from `SHOWN_SCORE` on with their class, and clicks as crosses in a ring.

    Args:
        image: uint8 (H, W, 3), RGB.
        detections: In pixels of the image.
        clicks: In pixels of the image; a negative one is drawn in white.
        classes: Names by label.

    Returns:
        uint8 (`ENLARGED` * H, `ENLARGED` * W, 3), RGB.
    """
    size = (image.shape[1] * ENLARGED, image.shape[0] * ENLARGED)
    canvas = Image.fromarray(image).resize(size)
    pen = ImageDraw.Draw(canvas)
    shown = detections.take(detections.scores >= SHOWN_SCORE)
    for box, label in zip(shown.boxes * ENLARGED, shown.labels.tolist(), strict=True):
        colour = PALETTE[label % len(PALETTE)]
        pen.rectangle(tuple(box.tolist()), outline=colour)
        pen.text((float(box[0]) + 2, float(box[1])), classes[label], fill=colour)
    for click in clicks:
        x, y, arm = click.x * ENLARGED, click.y * ENLARGED, 3 * ENLARGED
        colour = PALETTE[click.label % len(PALETTE)] if click.positive else "white"
        pen.ellipse((x - arm, y - arm, x + arm, y + arm), outline="black", fill=colour)
        pen.line((x - arm, y, x + arm, y), fill="black")
        pen.line((x, y - arm, x, y + arm), fill="black")
    return np.array(canvas)
