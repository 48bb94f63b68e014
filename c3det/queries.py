"""Queries: clicks of the picture and exemplars of other pictures, and their checks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from c3det.clicks import Click, Size, check_labels
from c3det.exemplars import Exemplar, Exemplars, ExemplarsError, OtherWeightsError
from c3det.limits import MAX_PER_QUERY
from c3det.model import ExemplarModel, Model, clicks_that_count
from c3det.weights import Card


@dataclass(frozen=True, slots=True)
class Query:
    """All that the detections in a tile depend on.

    Attributes:
        clicks: Those that count (`c3det.model.clicks_that_count`), each once, in one order.
        exemplars: Likewise, exemplars of other pictures.
    """

    clicks: tuple[Click, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()

    @classmethod
    def of(
        cls, clicks: Iterable[Click], exemplars: Iterable[Exemplar], *, counts_negative: bool
    ) -> Query:
        """The query of clicks of the picture and exemplars of others, in any order, even repeated.

        For ``counts_negative`` see `c3det.model.Model`.
        """
        return cls(
            tuple(
                sorted(
                    set(clicks_that_count(clicks, negative=counts_negative, beside=exemplars)),
                    key=lambda click: (click.label, click.y, click.x, click.positive, click.choice),
                )
            ),
            tuple(
                sorted(
                    set(clicks_that_count(exemplars, negative=counts_negative, beside=clicks)),
                    key=lambda one: (one.label, one.positive, one.numbers, one.width, one.height),
                )
            ),
        )


NO_CLICKS = Query()
"""The query without clicks and exemplars."""


def check_clicks(
    clicks: Sequence[Click], score_threshold: float, num_classes: int, image_size: Size
) -> None:
    """Raise ``ValueError`` if a click is outside the picture, or it or a threshold is wrong.

    ``num_classes`` is that of the weights; 0: any label is right, and any choice. ``image_size`` is
    ``(height, width)``.
    """
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold must be between 0 and 1, it is {score_threshold}")
    height, width = image_size
    if num_classes:
        check_labels(clicks, num_classes)
        if any(click.choice for click in clicks):
            raise ValueError("a closed model lets no click choose among the boxes under it")
    for index, click in enumerate(clicks):
        if not (0 <= click.x <= width and 0 <= click.y <= height):
            raise ValueError(
                f"click {index} is at ({click.x}, {click.y}), outside the picture of "
                f"{width} x {height} pixels"
            )


def exemplar_model(
    model: Model[Any], card: Card, exemplars: Exemplars | None = None
) -> ExemplarModel[Any]:
    """The model, typed as one that takes exemplars; exemplars that are given are checked.

    Raises:
        ExemplarsError: The model takes none, or these are of other weights, or too many.
    """
    if not isinstance(model, ExemplarModel):
        raise ExemplarsError(
            f"{card.name} is a closed model, which knows its classes and takes no exemplars: "
            "ask it without, or choose weights of the open model"
        )
    if exemplars is None:
        return model
    if exemplars.weights != card.tensors:
        raise OtherWeightsError(
            f"the exemplars are of the weights {exemplars.weights[:12]} (sha256), and {card.name} "
            f"has {card.tensors[:12]}: take them again with {card.name}"
        )
    if exemplars.vectors.shape[1] != model.numbers:
        raise OtherWeightsError(
            f"an exemplar has {exemplars.vectors.shape[1]} numbers, and {card.name} takes "
            f"{model.numbers}: take them again with {card.name}"
        )
    if len(exemplars) > MAX_PER_QUERY:
        raise ExemplarsError(
            f"a query may have at most {MAX_PER_QUERY} exemplars, not {len(exemplars)}: thin them"
        )
    return model
