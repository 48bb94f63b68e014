"""Make the function's weights from a run: ``python -m training.export --run runs/c3det --out W``.

Nothing is written that the function would refuse: the files are first written apart, loaded as the
function loads them, and compared with the trained detector on random clicks; only then they take
their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from c3det.clicks import Click
from c3det.closed.architecture import Architecture
from c3det.closed.mmdet_adapter import ClickDetector, build_detector
from c3det.commands import command
from c3det.predictor import TILE_SIDE, Detections, Predictor, load
from c3det.weights import Card, save, save_card
from training.checkpoints import last_checkpoint, read_checkpoint, read_record
from training.data.annotated import Annotated
from training.data.sets import PictureSet
from training.dataset import pack
from training.evaluation.evaluator import best_threshold
from training.options import add_options, command_parser, input_errors, option, read_options
from training.settings import TrainingSettings
from training.validation import to_detections
from training.weights_files import ExportSettings, without_folders, written_whole

OWN_LICENCE = {
    "weights": "Apache-2.0",
    "initial backbone": "torchvision's ImageNet weights, BSD-3-Clause",
}
VALIDATION_PICTURES = 12
BOX_TOLERANCE = 1e-3
"""Largest difference of a coordinate between the trained detector and the exported one, pixels."""

SCORE_TOLERANCE = 1e-4

SERVED_BOX_TOLERANCE, SERVED_SCORE_TOLERANCE = 0.1, 5e-3
"""The same between what is served, from click to click, and the whole computation.

Both take their sums in another order, so that a box on the edge of being suppressed may be in one
alone: at most `SERVED_ALONE` of them.
"""

SERVED_ALONE = 0.01
SERVED_FROM = 0.05
"""Lowest score of the boxes that are compared."""

_SIZES_SEED = 4 * 10**6


def typical_sizes(
    pictures: PictureSet, size: int, count: int = 200
) -> tuple[tuple[float, float], ...]:
    """Median ``(width, height)`` in pixels of the objects of each class in some training crops.

    A class that occurs in none of them has the median of all objects.

    Raises:
        ValueError: There is no object in any of them.
    """
    crops = [
        pictures.train_crop(size, np.random.default_rng([_SIZES_SEED, number]))
        for number in range(count)
    ]
    boxes = np.concatenate([crop.boxes[~crop.ignored] for crop in crops])
    labels = np.concatenate([crop.labels[~crop.ignored] for crop in crops])
    if len(boxes) == 0:
        raise ValueError(f"{count} training crops of {pictures.name} hold no object")
    sizes = boxes[:, 2:] - boxes[:, :2]
    everything = np.median(sizes, axis=0)
    medians = [
        np.median(sizes[labels == label], axis=0) if (labels == label).any() else everything
        for label in range(len(pictures.classes))
    ]
    return tuple((round(float(width), 1), round(float(height), 1)) for width, height in medians)


def random_clicks(picture: Annotated, number: int, classes: int, seed: int) -> list[Click]:
    """Clicks anywhere in a picture, of any class, a tenth of them negative."""
    rng = np.random.default_rng(seed)
    return [
        Click(
            rng.uniform(0, picture.width),
            rng.uniform(0, picture.height),
            int(rng.integers(classes)),
            bool(rng.random() >= 0.1),
        )
        for _ in range(number)
    ]


def check_same(
    trained: ClickDetector, predictor: Predictor, pictures: Sequence[Annotated]
) -> tuple[float, float]:
    """Compare the detector that was trained with the predictor that was exported.

    Args:
        trained: In evaluation mode; it gets the pictures as in training.
        predictor: Gets them as in the function.
        pictures: Each with 0, 1, 5 and 20 random clicks.

    Returns:
        The largest differences, of a coordinate in pixels and of a score.

    Raises:
        ValueError: They find different boxes, classes, or differ by more than the tolerances, or
            the predictor serves other answers than it computes as a whole.
    """
    largest = [0.0, 0.0]
    for index, picture in enumerate(pictures):
        features = predictor.encode(picture.image)
        served = predictor.open(picture.image)
        for number in (0, 1, 5, 20):
            clicks = random_clicks(picture, number, len(predictor.classes), seed=index)
            item = pack(picture, clicks)
            batch = trained.data_preprocessor(
                {"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]}
            )
            with torch.inference_mode():
                (sample,) = trained.predict(batch["inputs"], batch["data_samples"])
            one = sample.pred_instances
            ours = to_detections(one.bboxes, one.scores, one.labels)
            ours = ours.take(np.argsort(-ours.scores, kind="stable"))
            found = predictor.detect(features, clicks, score_threshold=0.0, answer_clicks=False)
            if len(found) != len(ours) or (found.labels != ours.labels).any():
                raise ValueError(
                    f"the exported predictor finds other objects in {picture.name} after {number} "
                    "clicks than the trained detector"
                )
            if max(features.image_size) <= TILE_SIDE:  # a larger one is served in tiles
                check_served(
                    served.detect(clicks, SERVED_FROM).detections,
                    predictor.detect(features, clicks, SERVED_FROM),
                    f"{picture.name} after {number} clicks",
                )
            for place, difference in enumerate(
                (found.boxes - ours.boxes, found.scores - ours.scores)
            ):
                largest[place] = max(largest[place], float(abs(difference).max(initial=0)))
    boxes, scores = largest
    if boxes > BOX_TOLERANCE or scores > SCORE_TOLERANCE:
        raise ValueError(
            f"the exported predictor differs from the trained detector by {boxes:.2g} px and "
            f"{scores:.2g} of score"
        )
    return boxes, scores


def check_served(served: Detections, whole: Detections, where: str) -> None:
    """Compare what the function would answer with the computation of the whole picture.

    Raises:
        ValueError: More boxes are in one of them alone than the order of sums explains.
    """
    for first, second in ((served, whole), (whole, served)):
        near = (
            (np.abs(first.boxes[:, None] - second.boxes).max(2) <= SERVED_BOX_TOLERANCE)
            & (np.abs(first.scores[:, None] - second.scores) <= SERVED_SCORE_TOLERANCE)
            & (first.labels[:, None] == second.labels)
        )
        alone = len(first) - int(near.any(1).sum())
        if alone > SERVED_ALONE * len(first):
            raise ValueError(
                f"what is served for {where} differs from the detector's own answer: {alone} of "
                f"{len(first)} boxes are in one of them alone"
            )


def chosen_checkpoint(run: Path, settings: TrainingSettings) -> dict[str, Any]:
    """The best checkpoint of a run that could stop early, the last one of any other.

    Raises:
        ValueError: There is no such run, or it has no checkpoint yet.
    """
    last = last_checkpoint(run)
    best = last["message_hub"]["runtime_info"].get("best_ckpt") if settings.patience else None
    return read_checkpoint(run / Path(best).name) if best else last


@dataclass(frozen=True, kw_only=True)
class ClosedExportSettings(ExportSettings):
    """The options of this command."""

    run: Path = option(MISSING, "folder that training.train filled")
    licence: str | None = option(None, "of own pictures, where the set does not say; for the card")


def export(how: ClosedExportSettings) -> Card:
    """Write a run's detector as weights and card.

    Raises:
        OSError: The data that the run was trained on cannot be read.
        ValueError: There is nothing to export, or nothing that the function could use.
        c3det.weights.WeightsError: The function would refuse the weights.
    """
    run = how.run
    last_checkpoint(run)
    training = read_record(run / "training.json")
    try:
        stored = training["settings"]
        settings = TrainingSettings(**{**stored, "sets": tuple(stored["sets"])})
        classes = list(training["classes"])
        architecture = Architecture.read(read_record(run / "architecture.json"))
        licences = {**OWN_LICENCE, **training.pop("licence")}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{run / 'training.json'} is not what a run writes ({error}): train it anew"
        ) from error
    if not all(classes) or len(set(classes)) < len(classes):
        raise ValueError(f"CVAT needs class names that differ and are not empty: {classes}")
    pictures = settings.load_pictures()
    if list(pictures.classes) != classes:
        raise ValueError(f"{pictures.name} has other classes now than {run} was trained on")
    checkpoint = chosen_checkpoint(run, settings)
    state = checkpoint["state_dict"]
    broken = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f"the training of {run} has diverged: {broken[0]} is not finite")
    detector = build_detector(architecture.config(len(classes)), architecture.normalization)
    try:
        detector.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip()[:200]
        raise ValueError(f"the checkpoint in {run} is of another detector: {reason}") from error
    detector.eval()
    if how.licence is not None:
        licences |= {key: how.licence for key, text in licences.items() if text == "not stated"}
    training["iterations done"] = checkpoint["meta"]["iter"] // settings.accumulate
    card = Card(
        name=str(how.name),
        classes=tuple(classes),
        architecture=architecture,
        score_threshold=how.threshold or 0.0,
        typical_sizes=typical_sizes(pictures, settings.size),
        training=without_folders(training),
        results={},
        licence=licences,
        limits=how.limits,
    )
    shown = pictures.val_pictures(VALIDATION_PICTURES)
    with written_whole(how.out) as weights:
        card = save(weights, detector.state_dict(), card)
        predictor = load(weights)
        # A small set may have no validation picture.
        compared = shown[:3] or [pictures.train_crop(settings.size, np.random.default_rng(0))]
        check_same(detector, predictor, compared)
        if how.threshold is None:
            threshold = best_threshold(predictor, shown)
            card = save_card(weights, replace(card, score_threshold=threshold))
    return card


@command("python -m training.export")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and export."""
    parser = command_parser("training.export", __doc__)
    add_options(parser, ClosedExportSettings)
    given = parser.parse_args(arguments)
    with input_errors(parser):
        how = read_options(given, ClosedExportSettings)
        card = export(how)
    megabytes = how.out.stat().st_size / 1e6
    print(
        f"{how.out}: {megabytes:.1f} MB, classes {', '.join(card.classes)}, threshold "
        f"{card.score_threshold}, sha256 {card.sha256}; equal to the trained detector"
    )


if __name__ == "__main__":
    main()
