"""A picture that is encoded once for all questions of a measurement."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from c3det.clicks import Click, LabelledBox
from c3det.detections import Detections
from c3det.exemplars import THUMBNAIL, Exemplars
from c3det.limits import SIDES
from c3det.open.model import OpenModel
from c3det.open.tile import OpenTile
from c3det.predictor import Predictor
from training.data.annotated import Annotated


class EncodedPicture:
    """A picture with its objects and the model's features of it.

    The picture is one tile, whatever its size, and a question computes all that depends on it. Time
    is that of the processor, summed over its threads, so that other work on the machine does not
    count: on one thread what an idle core would take, and more than the function takes, which keeps
    what an earlier question computed.

    Args:
        predictor: Of the open model.
        picture: With its objects.

    Attributes:
        picture: The same.
        encode_seconds: Processor time of the encoding.
    """

    def __init__(self, predictor: Predictor, picture: Annotated) -> None:
        self._predictor = predictor
        self.picture = picture
        started = time.process_time()
        features = predictor.encode(picture.image)
        assert isinstance(features, OpenTile)
        self._features = features
        self.encode_seconds = time.process_time() - started

    def detect(self, clicks: Sequence[Click], exemplars: Exemplars | None = None) -> Detections:
        """The model's own boxes of any score, before boxes are made of clicks."""
        return self._predictor.detect(
            self._features, clicks, 0.0, answer_clicks=False, exemplars=exemplars
        )

    def answer(
        self, clicks: Sequence[Click], exemplars: Exemplars | None, least_score: float
    ) -> tuple[Detections, float]:
        """What the function shows, and the processor time in seconds.

        Args:
            clicks: In pixels of the picture.
            exemplars: Of other pictures.
            least_score: Of a box that answers no click.
        """
        started = time.process_time()
        found = self._predictor.detect(self._features, clicks, least_score, exemplars=exemplars)
        return found, time.process_time() - started

    def exemplars(
        self, clicks: Sequence[Click], names: Sequence[str], boxes: Sequence[LabelledBox] = ()
    ) -> Exemplars:
        """As `c3det.picture.Picture.exemplars`, without thumbnails."""
        model = self._predictor.model
        assert isinstance(model, OpenModel)
        with torch.inference_mode():
            templates = model.templates(self._features, clicks)
            if boxes:
                corners = [(box.x1, box.y1, box.x2, box.y2) for box in boxes]
                templates += model.templates_of_boxes(self._features, np.array(corners, np.float32))
            described = [model.described(template) for template in templates]
        given: list[Click | LabelledBox] = [*clicks, *boxes]
        sizes = np.array([box[2:] - box[:2] for _, box in described], np.float32)
        vectors = np.array([vector for vector, _ in described], np.float16)
        return replace(
            Exemplars.none(self._predictor.card.tensors, model.numbers, names),
            labels=np.array([one.label for one in given], np.int64),
            positive=np.array([one.positive for one in given], np.bool_),
            vectors=vectors.reshape(-1, model.numbers),
            sizes=sizes.reshape(-1, 2).clip(*SIDES),
            thumbnails=np.zeros((len(given), THUMBNAIL, THUMBNAIL, 3), np.uint8),
            sources=("",) * len(given),
        )
