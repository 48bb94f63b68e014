"""A picture that is encoded once, beside the picture of the function."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from c3det.clicks import Click, LabelledBox
from c3det.predictor import load
from tests.c3det.open.small import pixels, saved
from training.data.annotated import Annotated
from training.open.encoded import EncodedPicture


def test_exemplars_and_answers_are_those_of_the_function(tmp_path: Path) -> None:
    predictor = load(saved(tmp_path))
    nothing = np.zeros((0, 4), np.float32)
    picture = Annotated("one", pixels(96, 128), nothing, np.zeros(0, np.int64))
    clicks = [Click(20, 30, 0), Click(70, 40, 1), Click(90, 80, 1, positive=False)]
    boxes = [LabelledBox(50, 50, 70, 64, 0)]
    encoded, opened = EncodedPicture(predictor, picture), predictor.open(picture.image)
    ours = encoded.exemplars(clicks, ("a", "b"), boxes)
    theirs = opened.exemplars(clicks, ("a", "b"), boxes=boxes)
    assert theirs is not None
    for name in ("labels", "positive", "vectors", "sizes"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-3, atol=1e-3)
    assert len(encoded.exemplars([], ("a", "b"))) == 0
    found, seconds = encoded.answer(clicks, ours, 0.05)
    expected = opened.detect(clicks, 0.05, exemplars=ours).detections
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1)
    assert 0 < seconds
    assert encoded.encode_seconds > 0
    alone = encoded.detect([], ours)
    assert (alone.clicks == -1).all()
