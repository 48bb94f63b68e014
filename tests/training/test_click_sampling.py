"""Synthetic annotators."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c3det.clicks import Click
from training.click_sampling import (
    ClickSampler,
    ClickSequence,
    click_on,
    click_sequence,
    load_sequences,
    order_objects,
    save_sequences,
)
from training.index import Annotated


def objects(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Make boxes of 4 x 8 pixels in a row, 10 apart, with labels 0, 1, 2, 0, 1, ..."""
    x = np.arange(number, dtype=np.float32) * 10
    boxes = np.stack([x, np.zeros_like(x), x + 4, np.full_like(x, 8)], axis=1)
    return boxes, np.arange(number, dtype=np.int64) % 3


def clicked(clicks: list[Click] | tuple[Click, ...]) -> list[int]:
    return [int(click.x // 10) for click in clicks]


def test_click_without_jitter_is_the_centre() -> None:
    box = np.array([10, 20, 14, 28], np.float32)
    assert click_on(box, 3, 0.0, np.random.default_rng(0)) == Click(12, 24, 3)


def test_click_fills_the_central_part() -> None:
    rng = np.random.default_rng(0)
    box = np.array([0, 0, 40, 80], np.float32)
    clicks = [click_on(box, 0, 0.5, rng) for _ in range(2000)]
    xs, ys = [click.x for click in clicks], [click.y for click in clicks]
    assert 10 <= min(xs) < 10.2
    assert 29.8 < max(xs) <= 30
    assert 20 <= min(ys) < 20.4
    assert 59.6 < max(ys) <= 60


def test_balanced_order_goes_in_rounds() -> None:
    labels = np.array([5] * 6 + [1] * 2 + [9], np.int64)
    order = order_objects(labels, "class-balanced", np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(9))
    in_order = labels[order].tolist()
    assert sorted(in_order[:3]) == [1, 5, 9]
    assert sorted(in_order[3:5]) == [1, 5]
    assert in_order[5:] == [5, 5, 5, 5]


def test_uniform_order_follows_frequency() -> None:
    labels = np.array([0] * 9 + [1], np.int64)
    rng = np.random.default_rng(0)
    firsts = [labels[order_objects(labels, "uniform", rng)[0]] for _ in range(2000)]
    assert np.mean(firsts) == pytest.approx(0.1, abs=0.02)
    firsts = [labels[order_objects(labels, "class-balanced", rng)[0]] for _ in range(2000)]
    assert np.mean(firsts) == pytest.approx(0.5, abs=0.04)


@given(number=st.integers(0, 30), seed=st.integers(0, 1000))
def test_sample_is_valid(number: int, seed: int) -> None:
    boxes, labels = objects(number)
    clicks = ClickSampler().sample(boxes, labels, np.random.default_rng(seed))
    assert len(clicks) <= min(number, 20)
    hit = clicked(clicks)
    assert len(set(hit)) == len(hit)
    for click, index in zip(clicks, hit, strict=True):
        x1, y1, x2, y2 = boxes[index]
        assert x1 < click.x < x2
        assert y1 < click.y < y2
        assert click.label == labels[index]
        assert click.positive


def test_number_of_clicks() -> None:
    boxes, labels = objects(30)
    rng = np.random.default_rng(0)
    counts = Counter(len(ClickSampler().sample(boxes, labels, rng)) for _ in range(6000))
    assert sorted(counts) == list(range(21))
    # 0.15 + 0.85 / 21 = 0.190 without a click; 0.85 / 21 = 0.040 for each other number.
    assert counts[0] / 6000 == pytest.approx(0.190, abs=0.02)
    assert all(counts[n] / 6000 == pytest.approx(0.040, abs=0.012) for n in range(1, 21))


def test_number_of_clicks_with_few_objects() -> None:
    boxes, labels = objects(2)
    sampler = ClickSampler(zero_probability=0.1)
    rng = np.random.default_rng(0)
    counts = Counter(len(sampler.sample(boxes, labels, rng)) for _ in range(3000))
    # 0.1 + 0.9 / 3 = 0.4 without a click, 0.3 with one, 0.3 with two.
    assert [counts[n] / 3000 for n in range(3)] == pytest.approx([0.4, 0.3, 0.3], abs=0.03)


def test_seed_repeats_the_clicks() -> None:
    boxes, labels = objects(30)
    draws = [ClickSampler().sample(boxes, labels, np.random.default_rng(5)) for _ in range(2)]
    assert draws[0] == draws[1]


@pytest.mark.parametrize("name", ["zero_probability", "balanced_probability", "jitter"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be between 0 and 1, it is 1.5"):
        ClickSampler(**{name: 1.5})
    with pytest.raises(ValueError, match="max_clicks must not be negative, it is -1"):
        ClickSampler(max_clicks=-1)


def annotated(number: int) -> Annotated:
    boxes, labels = objects(number)
    return Annotated("toy", np.zeros((8, 300, 3), np.uint8), boxes, labels)


def test_sequence_names_the_clicked_objects() -> None:
    sequence = click_sequence(annotated(30), np.random.default_rng(0))
    assert len(sequence) == 20
    assert list(sequence.objects) == clicked(sequence.clicks)
    assert len(set(sequence.objects)) == 20
    assert sequence.first(3) == ClickSequence(sequence.clicks[:3], sequence.objects[:3])
    assert sequence.first(0) == ClickSequence((), ())


def test_sequence_of_some_classes() -> None:
    sequence = click_sequence(annotated(30), np.random.default_rng(0), labels=[2])
    assert sorted(sequence.objects) == list(range(2, 30, 3))
    assert {click.label for click in sequence.clicks} == {2}
    assert len(click_sequence(annotated(0), np.random.default_rng(0))) == 0


def test_sequences_are_replayed(tmp_path: Path) -> None:
    sequences = {
        "a": click_sequence(annotated(30), np.random.default_rng(0)),
        "b": ClickSequence((Click(1.5, 2.5, 4, positive=False),), (7,)),
        "empty": ClickSequence((), ()),
    }
    path = tmp_path / "clicks.json"
    save_sequences(path, sequences)
    assert load_sequences(path) == sequences


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"a": [{"x": 1}]}', '{"a": 1}'])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "clicks.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"clicks\.json does not hold click sequences"):
        load_sequences(path)
