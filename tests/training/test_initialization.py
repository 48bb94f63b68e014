"""Initial weights taken over from other runs and other classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from c3det.clicks import Click
from c3det.closed.architecture import Architecture, architecture
from c3det.closed.fusion import ClickBatch
from c3det.closed.mmdet_adapter import ClickDetector, ClickedFeatures, build_detector
from c3det.closed.presets import Stages, normalization
from c3det.weights import Card, save
from tests.training import small_runs
from tests.training.test_checkpoints import checkpoint
from training.initialization import class_places, start_from, start_from_weights
from training.runner import run_record
from training.train import argument_parser, chosen_architecture

SIZE = (64, 64)
OLD, NEW = ("tree", "car", "ship"), ("ship", "hut", "tree", "pier")


def detector(classes: int, noise: float = 0.05, **options: Any) -> ClickDetector:
    torch.manual_seed(classes)
    model = build_detector(architecture("starter", classes, **options), normalization("starter"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * noise
    return model.eval()


def saved(
    folder: Path, model: ClickDetector, licence: dict[str, str] | None = None, **options: Any
) -> Path:
    weights = folder / "old.safetensors"
    card = Card(
        name="old",
        classes=OLD,
        architecture=Architecture("starter", **options),
        score_threshold=0.3,
        typical_sizes=((9.0, 9.0),) * len(OLD),
        training={},
        results={},
        licence=licence or {},
    )
    save(weights, model.state_dict(), card)
    return weights


def levels(model: ClickDetector, image: torch.Tensor, clicks: list[Click]) -> Any:
    batch = ClickBatch([clicks], [SIZE], SIZE)
    with torch.no_grad():
        return model.extract_feat(ClickedFeatures(model.encode(image), batch))


def class_scores(model: ClickDetector, features: Any) -> torch.Tensor:
    """Logits of the classes: (cells, anchors, K) or (boxes, K + 1)."""
    with torch.no_grad():
        if hasattr(model, "bbox_head"):
            scores = model.bbox_head(features)[0][0]
            return scores.reshape(-1, model.num_classes, *scores.shape[-2:]).movedim(1, -1)
        rois = torch.tensor([[0.0, 8, 8, 40, 40], [0, 20, 30, 44, 60]])
        return model.roi_head._bbox_forward(features, rois)["cls_score"]


@pytest.mark.parametrize("stages", ["one-stage", "two-stage"])
@pytest.mark.parametrize("fusion", ["c3det", "late", "early", "plain"])
def test_known_classes_behave_as_before(stages: Stages, fusion: str, tmp_path: Path) -> None:
    """The same clicks, by name, change the features as before; known classes score as before."""
    options = {"stages": stages, "fusion": fusion}
    old, new = detector(len(OLD), **options), detector(len(NEW), **options)
    known = start_from_weights(new, saved(tmp_path, old, **options), NEW)
    assert known == ["ship", "tree"]
    image = torch.randn(1, 3, *SIZE)
    places = [(20.0, 30.0, "tree"), (50.0, 12.0, "ship")]
    before = levels(old, image, [Click(x, y, OLD.index(name)) for x, y, name in places])
    after = levels(new, image, [Click(x, y, NEW.index(name)) for x, y, name in places])
    silent = levels(new, image, [])
    for ours, theirs in zip(after, before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    if fusion != "plain":
        assert not torch.allclose(after[0], silent[0], atol=1e-3)
    scores, wanted = class_scores(new, after), class_scores(old, before)
    for name in known:
        torch.testing.assert_close(
            scores[..., NEW.index(name)], wanted[..., OLD.index(name)], rtol=1e-4, atol=1e-5
        )
    if stages == "two-stage":
        torch.testing.assert_close(scores[:, -1], wanted[:, -1], rtol=1e-4, atol=1e-5)


def test_clicks_of_an_unknown_class_arrive_as_the_average(tmp_path: Path) -> None:
    old, new = detector(len(OLD)), detector(len(NEW))
    untrained = new.roi_head.bbox_head.fc_cls.weight.detach().clone()
    start_from_weights(new, saved(tmp_path, old), NEW)
    name = "click_fusion.branch.backbone.conv1.weight"
    channels, knew = new.state_dict()[name], old.state_dict()[name]
    assert torch.equal(channels[:, NEW.index("tree")], knew[:, OLD.index("tree")])
    torch.testing.assert_close(channels[:, NEW.index("hut")], knew.mean(1))
    row = new.roi_head.bbox_head.fc_cls.weight[NEW.index("hut")]
    assert torch.equal(row, untrained[NEW.index("hut")])


def test_class_places_of_the_published_detector() -> None:
    """Boxes of each class of their own: four rows each, in the order of the classes."""
    torch.manual_seed(0)
    model = build_detector(architecture("paper", 2, fusion="early"), normalization("paper"))
    state = model.state_dict()
    places = {
        name: class_places(model, name, value, 2)
        for name, value in state.items()
        if class_places(model, name, value, 2) is not None
    }
    found = {name: (axis, rows.tolist()) for name, (axis, rows) in places.items()}  # type: ignore[misc]
    head = "roi_head.bbox_head"
    assert found == {
        f"{head}.fc_cls.weight": (0, [[0], [1]]),
        f"{head}.fc_cls.bias": (0, [[0], [1]]),
        f"{head}.fc_reg.weight": (0, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        f"{head}.fc_reg.bias": (0, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        "backbone.conv1.weight": (1, [[3], [4]]),
    }


def test_weights_of_another_detector_are_refused(tmp_path: Path) -> None:
    weights = saved(tmp_path, detector(len(OLD)))
    with pytest.raises(ValueError, match=r"old.safetensors holds another detector: .* differ"):
        start_from_weights(detector(len(NEW), stages="one-stage"), weights, NEW)


def finished(folder: Path, model: ClickDetector) -> Path:
    folder.mkdir()
    torch.save(checkpoint(**model.state_dict()), folder / "iter_10.pth")
    return folder


@pytest.mark.parametrize("fusion", ["c3det", "late", "early"])
def test_clicks_added_to_a_finished_run_start_without_influence(
    fusion: str, tmp_path: Path
) -> None:
    first, second = detector(3, fusion="plain"), detector(3, noise=0, fusion=fusion)
    start_from(second, finished(tmp_path / "run", first))
    image = torch.randn(1, 3, *SIZE)
    clicks = [Click(30, 30, 2), Click(9, 50, 1)]
    for ours, plain in zip(levels(second, image, clicks), levels(first, image, []), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [lambda: detector(3, stages="one-stage"), lambda: detector(4)],
    ids=["stages", "classes"],
)
def test_a_run_of_another_detector_is_refused(
    other: Callable[[], ClickDetector], tmp_path: Path
) -> None:
    run = finished(tmp_path / "run", detector(3, fusion="plain"))
    with pytest.raises(ValueError, match=r"trained another detector: .* differ"):
        start_from(other(), run)


def test_a_run_takes_the_architecture_of_the_weights_that_it_starts_from(tmp_path: Path) -> None:
    options: dict[str, Any] = {"stages": "one-stage", "correlation": {"gain": 3.0}, "uel": False}
    weights = saved(tmp_path, detector(len(OLD), **options), **options)
    given = argument_parser().parse_args(
        ["--out", "o", "--set", "trees", "--weights", str(weights)]
    )
    assert chosen_architecture(given) == Architecture("starter", **options)


def test_the_licences_of_what_a_run_starts_from_go_on(tmp_path: Path) -> None:
    folder = small_runs.write_folder(tmp_path / "squares")
    weights = saved(tmp_path, detector(len(OLD)), licence={"digits": "CC BY-SA 3.0"})
    how = small_runs.settings(folder, weights=str(weights))
    about = run_record(how.load_pictures(), "starter", how, processes=1)
    assert about["licence"] == {"digits": "CC BY-SA 3.0", "pictures of squares": "not stated"}
    assert about["origin"]["classes"] == list(OLD)
