"""What the card of closed weights says about how the detector is built.

A variant is an `Architecture`: a preset (`c3det.closed.presets`) and choices, plain data that is
checked. From it `Architecture.config` makes the mmdet config that
`c3det.closed.mmdet_adapter.build_detector` builds. No config comes from a file.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from c3det.closed.correlation import Sampling, Scale
from c3det.closed.losses import Target
from c3det.closed.presets import (
    CLICK_SIGMA,
    CORRELATION,
    HEADS,
    PARTS,
    UEL_WEIGHT,
    Preset,
    Stages,
    normalization,
)
from c3det.fields import (
    check_bool,
    check_choice,
    check_number,
    check_object,
    read_dataclass,
    short_name,
)

Fusion = Literal["plain", "early", "late", "c3det"]

MAX_CLASSES = 2000
"""Detectors grow with their classes; LVIS, the largest set of boxes, has 1203."""

Numbers = tuple[float, float]
"""The least and the largest value of a number."""

Allowed = Numbers | type[bool] | tuple[str, ...]
"""What a value may be: a number in these bounds, a truth value, or one of these words."""

_SIGMA: Numbers = (0.1, 100.0)

_CORRELATION_VALUES: dict[str, Allowed] = {
    "sampling": get_args(Sampling),
    "sigma": _SIGMA,
    "scale": get_args(Scale),
    "gain": (0.001, 1000.0),
    "stop_gradient": bool,
    "projection": bool,
}
"""What the fields of `c3det.closed.fusion.CorrelationSettings` may be."""

_UEL_VALUES: dict[str, Allowed] = {
    "weight": (0.0, 1000.0),
    "target": get_args(Target),
    "radius": (0.0, 1000.0),
}
"""What the fields of `c3det.closed.losses.UserInputEnforcing` may be."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A detector but for its classes: all that a card or a run says about how it is built.

    Arguments that are left out get the preset's values, so equal architectures build equal
    detectors. Each value is checked, because it may come from a file.

    Attributes:
        preset: ``"paper"``: ResNet-50 and FPN, 256 channels, strides 4 to 64 (two-stage) or 8 to
            128 (one-stage), the published settings, for pictures of 1024 px. ``"starter"``:
            MobileNetV2, 64 channels, strides 4, 8 and 16, anchors for objects of 6 to 60 px, small
            enough to train on a CPU.
        stages: ``"one-stage"`` (RetinaNet) or ``"two-stage"`` (Faster R-CNN).
        fusion: ``"plain"``: no clicks; ``"early"``: heatmaps as input channels; ``"late"``: late
            fusion alone; ``"c3det"``: late fusion and correlation.
        uel: Whether the loss enforces the clicks; ``None``: with ``"c3det"`` only. Or fields of
            `c3det.closed.losses.UserInputEnforcing`, each in place of the preset's. Then the
            fields, or ``False``.
        correlation: Fields of `c3det.closed.fusion.CorrelationSettings`, each in place of the
            preset's; ``None`` without correlation.
        late: ``False`` leaves late fusion out of ``"c3det"``.
        sigma: Of the clicks drawn for early and late fusion, 0.1 to 100 px; ``None``: the preset's,
            and then where nothing is drawn.

    Raises:
        ValueError: A field has a value that it cannot have; the message names it.
    """

    preset: Preset
    stages: Stages = "two-stage"
    fusion: Fusion = "c3det"
    uel: bool | Mapping[str, Any] | None = None
    correlation: Mapping[str, Any] | None = None
    late: bool | None = None
    sigma: float | None = None

    def __post_init__(self) -> None:
        _check("preset", self.preset, get_args(Preset))
        _check("stages", self.stages, get_args(Stages))
        _check("fusion", self.fusion, get_args(Fusion))
        resolved = {
            "late": self._late(),
            "sigma": self._sigma(self._late() or self.fusion == "early"),
            "correlation": self._correlation(),
            "uel": self._uel(),
        }
        for name, value in resolved.items():
            object.__setattr__(self, name, value)

    def _late(self) -> bool:
        late = self.fusion in ("late", "c3det")
        if self.late is None:
            return late
        _check("late", self.late, bool)
        if self.late != late and self.fusion != "c3det":
            raise ValueError(f"late cannot be {str(self.late).lower()} for fusion {self.fusion!r}")
        return self.late

    def _sigma(self, drawn: bool) -> float | None:
        if self.sigma is None:
            return CLICK_SIGMA[self.preset] if drawn else None
        if not drawn:
            raise ValueError("sigma must be null where no clicks are drawn")
        return float(_check("sigma", self.sigma, _SIGMA))

    def _correlation(self) -> dict[str, Any] | None:
        if self.fusion == "c3det":
            chosen = {} if self.correlation is None else self.correlation
            return CORRELATION[self.preset] | _checked("correlation", chosen, _CORRELATION_VALUES)
        if self.correlation is not None:
            raise ValueError(f"correlation must be null for fusion {self.fusion!r}")
        return None

    def _uel(self) -> dict[str, Any] | bool:
        if self.uel is False or (self.uel is None and self.fusion != "c3det"):
            return False
        chosen = {} if self.uel is None or self.uel is True else self.uel
        default = dict(weight=UEL_WEIGHT[self.preset], target="assigned")
        return default | _checked("uel", chosen, _UEL_VALUES)

    @classmethod
    def read(cls, content: Any) -> Architecture:
        """Make one from what a card or a run has written: `asdict` of another.

        Raises:
            ValueError: It is anything else; the message names the field.
        """
        found = read_dataclass("architecture", cls, content)
        for name, value in asdict(found).items():
            # In writing, no value is left to the preset.
            if not _same(value, content[name]):
                raise ValueError(
                    f"architecture.{name} must be {reprlib.repr(value)}, "
                    f"not {reprlib.repr(content[name])}"
                )
        return found

    @property
    def normalization(self) -> dict[str, Any]:
        """How pictures are normalised, see `normalization`."""
        return normalization(self.preset)

    def config(self, num_classes: int) -> dict[str, Any]:
        """The detector's mmdet config.

        Args:
            num_classes: K, 1 to `MAX_CLASSES`.

        Raises:
            ValueError: Another number of classes.
        """
        if not 1 <= num_classes <= MAX_CLASSES:
            raise ValueError(f"a detector has 1 to {MAX_CLASSES} classes, not {num_classes}")
        backbone, neck, branch = PARTS[self.preset](num_classes, self.stages)
        clicks: dict[str, Any] = {}
        if self.fusion == "early":
            clicks["early"] = dict(sigma=self.sigma)
            # The widened stem starts blind to the clicks, so it has to be trained.
            backbone["frozen_stages"] = -1
        if self.late:
            clicks["late"] = branch | dict(sigma=self.sigma)
        if self.correlation is not None:
            clicks["correlation"] = dict(self.correlation)
        uel = dict(self.uel) if isinstance(self.uel, Mapping) else None
        return dict(
            backbone=backbone,
            neck=neck,
            num_classes=num_classes,
            clicks=clicks or None,
            **HEADS[self.stages](self.preset, num_classes, uel),
        )


def architecture(preset: Preset, num_classes: int, **options: Any) -> dict[str, Any]:
    """The mmdet config of an `Architecture` with these options, for a number of classes."""
    return Architecture(preset, **options).config(num_classes)


def _check(name: str, value: Any, allowed: Allowed) -> Any:
    """The value if it is allowed, a number as a float."""
    if allowed is bool:
        return check_bool(name, value)
    assert isinstance(allowed, tuple)
    if isinstance(allowed[0], str):
        return check_choice(name, value, allowed)
    return check_number(name, value, *allowed)


def _checked(name: str, chosen: Any, values: Mapping[str, Allowed]) -> dict[str, Any]:
    chosen = check_object(name, chosen)
    unknown = sorted(map(str, chosen.keys() - values.keys()))
    if unknown:
        raise ValueError(
            f"{name}.{short_name(unknown[0])} is unknown, there are {', '.join(values)}"
        )
    return {key: _check(f"{name}.{key}", value, values[key]) for key, value in chosen.items()}


def _same(first: Any, second: Any) -> bool:
    """Whether two values are the same in JSON, where 1 is 1.0 and true is not 1."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    return isinstance(first, bool) == isinstance(second, bool) and first == second
