"""What a job gains when what was clicked in one picture is known in the next ones.

    python -m training.open.jobs --weights fold0.safetensors fold1.safetensors --out FILE.json

The sets are those of `training.open.evaluate` with two test pictures or more, and so are the
weights: one file for each fold, or a single one. Next to the JSON file a Markdown table and a plot
are written.

**Transfer.** In the first picture that has objects, 1, 3 and 5 objects of each class are clicked at
random. The clicks become exemplars, and nothing is clicked in the other pictures. Beside that, in
each of the other pictures as many objects of the same classes are clicked, and nothing is known of
the first one. Average precision (IoU 0.5) of the model's own boxes in the other pictures, for the
classes that the first picture has; of all objects, and of those that are clicked in neither way.
The ratio is exemplars over own clicks.

**Economy.** The pictures of a job, at most 20, are annotated in their order until all is right, by
one annotator who makes no mistakes. For each picture:

1. Exemplars of the earlier pictures are known, and what is found with them at the threshold is
   shown. Without any, nothing is.
2. Errors are missed objects, and boxes whose middle is in no object. The annotator clicks the
   largest error, a missed object as positive and a box as negative, and waits for the answer.
   Where more is to be corrected by hand than before, the click is taken back. A class is not
   clicked any more in this picture once a click on it saved less time than it took, nor while it
   has less than two errors: a single one takes longer to click than to correct by hand.
3. A class of which so many boxes are wrong that it is faster to draw all of it is hidden. If boxes
   are shown, all are accepted at once. Then the wrong ones are deleted and the missed objects
   drawn by hand. A box is right where its IoU with an object of its class is 0.5 or more, one box
   an object: a loose box, or one of the wrong class, is deleted, and its object drawn.
4. All boxes and negative clicks become exemplars; the most typical of each class are kept.

The time is that of `training.annotation_time`: a click, hiding a class, and accepting a picture
take an assisted interaction of the paper's user study each (6.4 s). A click takes the measured
seconds to its answer on top, and the boxes that are shown first take theirs; the reading of the
picture is in the first answer. A deletion, and a drawn box, take an interaction by hand (5.6 s).
All by hand, each object takes one. The ratio is seconds by hand over seconds assisted. It is
measured again with nothing carried from picture to picture ("each alone").

**Adapting**, with ``--adapt``: the model is fitted to the first 1, 3 and 10 pictures as
`training.adapt` does it, in so many minutes. Transfer with three clicks a class is measured on the
pictures after these, before and after. Where the fit gained nothing on what it kept aside, the
weights stay.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file
from tqdm import tqdm

from c3det.answering import Detections
from c3det.clicks import Click, LabelledBox
from c3det.commands import at_least, command, positive
from c3det.exemplars import MOST_ASKED, Exemplars
from c3det.open.architecture import OpenArchitecture
from c3det.open.detector import OpenDetector
from c3det.open.model import OpenModel, fill
from c3det.picture import Picture
from c3det.predictor import Predictor
from c3det.weights import Card, WeightsError, card_path
from training.adapt import read_start
from training.annotation_time import Study
from training.clicks.sampling import invented, missed
from training.data.index import Annotated
from training.data.sources import SourceError
from training.evaluation import measures
from training.open import test_sets
from training.open.adapt import Settings, divide, fit
from training.open.evaluate import (
    THRESHOLD,
    Clicked,
    Pairs,
    click_at_random,
    members,
    quality,
    right_boxes,
    weights_of,
)
from training.open.reporting import MAIN_COUNT, cell, write_texts
from training.open.test_sets import TestSet

COUNTS = (1, 3, 5)
"""Clicks a class in the first picture."""

MOST_PICTURES = 20
"""Of a job."""

MOST_OF_A_LABEL = 16
"""Exemplars that go to the next picture, as `serverless.annotate` has it."""

ACCEPTED = (1, 3, 10)
"""Pictures that the model is adapted to."""

STUDY = Study()

WAYS = {"carried": "exemplars", "own": "own clicks"}


def thinned(exemplars: Exemplars) -> Exemplars:
    """The most typical ones of each label, so many that a question may have them all."""
    most = MOST_OF_A_LABEL
    while len(thin := exemplars.thinned(most)) > MOST_ASKED and most > 1:
        most -= 1
    return thin


def taken(
    read: Picture, clicks: Sequence[Click], names: Sequence[str], boxes: Sequence[LabelledBox] = ()
) -> Exemplars:
    """The exemplars of a picture, however long it takes."""
    exemplars = read.exemplars(clicks, names, boxes=boxes)
    assert exemplars is not None  # only a deadline makes it so
    return exemplars


Transfer = dict[str, dict[str, Any]]
"""By clicks a class and way: AP in percent, of ``"all"`` objects and of ``"unclicked"`` ones."""


def transfer(
    predictor: Predictor,
    first: Annotated,
    others: Sequence[Annotated],
    names: Sequence[str],
    counts: Sequence[int],
    seeds: int,
) -> Transfer:
    """Measure what clicks on one picture find in others, see the module.

    Args:
        predictor: Of the open model.
        first: Is clicked.
        others: Are not, and then each is clicked for itself.
        names: Of the labels.
        counts: Clicks a class, rising.
        seeds: Of the clicks; the mean over them is returned.
    """
    labels = sorted(members(first))
    read = predictor.open(first.image)
    known = {
        (seed, number): thinned(taken(read, state.clicks, names))
        for seed in range(seeds)
        for number, state in zip(counts, click_at_random(first, counts, seed), strict=True)
    }
    pairs: dict[tuple[str, str, int, int], Pairs] = defaultdict(list)
    for place, whole_picture in enumerate(others, start=1):
        picture = measures.keep_objects(whole_picture, np.isin(whole_picture.labels, labels))
        features = predictor.encode(picture.image)
        for seed in range(seeds):
            states = click_at_random(picture, counts, 1000 * place + seed)
            for number, state in zip(counts, states, strict=True):
                answers = {
                    "carried": predictor.detect(
                        features, [], 0.0, answer_clicks=False, exemplars=known[seed, number]
                    ),
                    "own": predictor.detect(features, state.clicks, 0.0, answer_clicks=False)
                    if state.clicks
                    else Detections.none(),
                }
                for way, found in answers.items():
                    pairs["all", way, seed, number].append((picture, found))
                    rest = measures.unclicked(picture, found, state.objects)
                    pairs["unclicked", way, seed, number].append(rest)
    return {
        str(number): {
            way: {
                part: mean(
                    [
                        quality(pairs[part, way, seed, number], labels, 0.0)["AP"]
                        for seed in range(seeds)
                    ]
                )
                for part in ("all", "unclicked")
            }
            for way in WAYS
        }
        for number in counts
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 2) if known else None


@dataclass(slots=True)
class Work:
    """What an annotator did.

    Attributes:
        objects: In the pictures.
        clicks: That the model answered.
        hidden: Classes of a picture.
        accepted: Pictures whose boxes were accepted.
        deleted: Wrong boxes.
        drawn: Missed objects.
        waited: Seconds for the model.
        questions: That it waited for.
    """

    objects: int = 0
    clicks: int = 0
    hidden: int = 0
    accepted: int = 0
    deleted: int = 0
    drawn: int = 0
    waited: float = 0.0
    questions: int = 0

    @property
    def by_hand(self) -> float:
        """Seconds without the model."""
        return self.objects * STUDY.manual_interaction

    @property
    def assisted(self) -> float:
        """Seconds with it."""
        return (
            (self.clicks + self.hidden + self.accepted) * STUDY.assisted_interaction(0.0)
            + (self.deleted + self.drawn) * STUDY.manual_interaction
            + self.waited
        )

    def add(self, other: Work) -> None:
        """Count what was done in another picture."""
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))

    def told(self) -> dict[str, float | None]:
        """For the results."""
        return asdict(self) | {
            "waited": round(self.waited, 2),
            "by hand": round(self.by_hand, 1),
            "assisted": round(self.assisted, 1),
            "ratio": round(self.by_hand / self.assisted, 2) if self.assisted else None,
        }


def corrections(picture: Annotated, shown: Detections, labels: Sequence[int]) -> tuple[int, int]:
    """How many boxes are wrong, and how many objects have none."""
    counts = measures.count(measures.match([picture], [shown], labels)[0])
    return int(counts.wrong.sum()), int(counts.missed.sum())


@dataclass(frozen=True, slots=True)
class Error:
    """What can be clicked.

    Attributes:
        area: Of its box, in square pixels.
        label: Class.
        index: Of a missed object.
        click: On a wrong box.
    """

    area: float
    label: int
    index: int = -1
    click: Click | None = None


def errors(picture: Annotated, shown: Detections) -> list[Error]:
    """Missed objects, and boxes of nothing, the largest first."""
    found = []
    for index in missed(picture, shown).tolist():
        if not picture.ignored[index]:
            area = _area(picture.boxes[index])
            found.append(Error(area, int(picture.labels[index]), index=index))
    for row in invented(picture, shown).tolist():
        x1, y1, x2, y2 = shown.boxes[row].tolist()
        label = int(shown.labels[row])
        click = Click((x1 + x2) / 2, (y1 + y2) / 2, label, positive=False)
        found.append(Error(_area(shown.boxes[row]), label, click=click))
    return sorted(found, key=lambda one: -one.area)


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2:] - box[:2]).prod())


def annotate(
    picture: Annotated,
    predictor: Predictor,
    names: Sequence[str],
    threshold: float,
    known: Exemplars,
) -> tuple[Work, Exemplars]:
    """Annotate a picture until all is right, see the module.

    Args:
        picture: With its objects.
        predictor: Of the open model.
        names: Of the labels.
        threshold: Score from which on boxes are shown.
        known: Exemplars of earlier pictures, named likewise.

    Returns:
        What was done, and the exemplars of this picture.
    """
    rng = np.random.default_rng(0)
    labels = range(len(names))
    work = Work(objects=sum(map(len, members(picture).values())))
    read = predictor.open(picture.image)

    def ask(clicks: Sequence[Click]) -> tuple[Detections, float]:
        began = time.perf_counter()
        found = read.detect(clicks, threshold, exemplars=known if len(known) else None).detections
        waited = time.perf_counter() - began
        work.waited += waited
        work.questions += 1
        return found, waited

    state = Clicked()
    shown = ask([])[0] if known.positive.any() else Detections.none()
    paying = set(labels)
    while True:
        wrong = errors(picture, shown)
        count = Counter(one.label for one in wrong)
        worth = (one for one in wrong if one.label in paying and count[one.label] > 1)
        worst = next(worth, None)
        if worst is None:
            break
        told = Clicked(list(state.clicks), list(state.objects), list(state.boxes))
        if worst.click is None:
            told.add(picture, worst.index, rng)
        else:
            told.clicks.append(worst.click)
        found, waited = ask(told.clicks)
        work.clicks += 1
        fewer = sum(corrections(picture, shown, labels)) - sum(corrections(picture, found, labels))
        if fewer >= 0:
            state, shown = told, found
        if fewer * STUDY.manual_interaction < STUDY.assisted_interaction(waited):
            paying.discard(worst.label)
    for label in labels:
        many, _ = corrections(picture, shown, [label])
        rest = shown.take(shown.labels != label)
        right = len(right_boxes(picture, shown)) - len(right_boxes(picture, rest))
        if (many - right) * STUDY.manual_interaction > STUDY.assisted_interaction(0.0):
            shown = rest
            work.hidden += 1
    work.accepted = int(len(shown) > 0)
    work.deleted, work.drawn = corrections(picture, shown, labels)
    accepted = right_boxes(picture, shown)
    lost = [one.index for one in errors(picture, shown) if one.click is None]
    boxes = np.concatenate([accepted.boxes, picture.boxes[lost]])
    boxes = boxes.clip(0, [picture.width, picture.height] * 2)
    rows = zip(
        boxes.tolist(), [*accepted.labels.tolist(), *picture.labels[lost].tolist()], strict=True
    )
    kept = [
        LabelledBox(x1, y1, x2, y2, label)
        for (x1, y1, x2, y2), label in rows
        if x1 < x2 and y1 < y2
    ]
    return work, taken(read, [one for one in state.clicks if not one.positive], names, kept)


def economy(
    predictor: Predictor,
    pictures: Sequence[Annotated],
    names: Sequence[str],
    threshold: float,
    none: Exemplars,
    *,
    carries: bool = True,
) -> Work:
    """Annotate a job, see the module.

    Args:
        predictor: Of the open model.
        pictures: In their order.
        names: Of the labels.
        threshold: Score from which on boxes are shown.
        none: No exemplars, of the weights.
        carries: Whether exemplars go from picture to picture.
    """
    work, known = Work(), none
    title = "a job" if carries else "each picture alone"
    for picture in tqdm(pictures, desc=title, unit="picture", disable=None):
        one, new = annotate(picture, predictor, names, threshold, known)
        work.add(one)
        if carries:
            known = thinned(known.merged(new))
    return work


def adapted(
    start: OpenDetector, card: Card, test_set: TestSet, minutes: float, seeds: int
) -> dict[str, Any]:
    """Transfer before and after fitting to so many pictures, None where they are too few."""
    results: dict[str, Any] = {}
    for number in ACCEPTED:
        results[str(number)] = None
        rest = test_set.pictures[number:]
        try:
            sides = divide(test_set.pictures[:number])
        except ValueError:  # too few objects
            continue
        if not rest:
            continue
        fitted = fit(start, sides, Settings(minutes=minutes))
        before, after = (
            transfer(
                Predictor(OpenModel(network), card),
                _first(test_set.pictures),
                rest,
                test_set.classes,
                (MAIN_COUNT,),
                seeds,
            )[str(MAIN_COUNT)]
            for network in (start, fitted.network if fitted.gained else start)
        )
        results[str(number)] = {"before": before, "after": after, "gained": fitted.gained}
    return results


def _first(pictures: Sequence[Annotated]) -> Annotated:
    return next(one for one in pictures if members(one))


Results = dict[str, dict[str, Any]]
"""By set: kind, whether it is multi-class, pictures, transfer, economy and adapt."""


def ratio(row: dict[str, Any], part: str = "all") -> float | None:
    """AP with exemplars in percent of that with own clicks."""
    carried, own = row["carried"][part], row["own"][part]
    return None if carried is None or not own else round(100 * carried / own, 1)


def means(results: Results, counts: Sequence[int]) -> dict[str, Any]:
    """Means over the sets, of one class and of several apart.

    Ratios of AP are those of the means; ratios of times are means over the sets.
    """
    out: dict[str, Any] = {}
    for name, multi in (("single-class", False), ("multi-class", True)):
        rows = [one for one in results.values() if one["multi"] == multi]
        if not rows:
            continue
        moved: Transfer = {
            str(number): {
                way: {
                    part: mean([row["transfer"][str(number)][way][part] for row in rows])
                    for part in ("all", "unclicked")
                }
                for way in WAYS
            }
            for number in counts
        }
        for row in moved.values():
            row["ratio"] = {part: ratio(row, part) for part in ("all", "unclicked")}
        out[name] = {
            "sets": len(rows),
            "transfer": moved,
            "economy": {
                way: mean([row["economy"][way]["ratio"] for row in rows])
                for way in ("carried", "alone")
            },
        }
        fitted = [row["adapt"] for row in rows if row.get("adapt")]
        if fitted:
            out[name]["adapt"] = {
                str(number): {
                    when: {
                        way: mean([one[str(number)][when][way]["all"] for one in known])
                        for way in WAYS
                    }
                    for when in ("before", "after")
                }
                for number in ACCEPTED
                if (known := [one for one in fitted if one[str(number)]])
            }
    return out


def table(results: Results, counts: Sequence[int]) -> str:
    """Markdown: transfer and economy of each set, and the means.

    Args:
        results: Of the sets.
        counts: Clicks a class.
    """
    heads = [f"{title}, {number}" for title in ("exemplars", "own clicks") for number in counts]
    lines = [
        "AP at IoU 0.5 in pictures of which none is clicked, from exemplars of the first picture,",
        "and with as many clicks on each picture itself; and seconds by hand over seconds assisted",
        "in a job.",
        "",
        f"| set | pictures | {' | '.join(heads)} | ratio, % | by hand, s | assisted, s | times "
        "faster | each alone |",
        f"| --- | {' | '.join('---:' for _ in range(len(heads) + 6))} |",
    ]

    def moved(row: Transfer) -> str:
        cells = [cell(row[str(number)][way]["all"]) for way in WAYS for number in counts]
        ratios = "/".join(cell(ratio(row[str(number)])) for number in counts)
        return f"{' | '.join(cells)} | {ratios}"

    for name in sorted(results, key=lambda one: (results[one]["multi"], one)):
        row = results[name]
        carried, alone = row["economy"]["carried"], row["economy"]["alone"]
        seconds = " | ".join(cell(carried[part]) for part in ("by hand", "assisted"))
        times = f"{_times(carried['ratio'])} | {_times(alone['ratio'])}"
        lines.append(
            f"| {name} | {row['pictures']} | {moved(row['transfer'])} | {seconds} | {times} |"
        )
    averages = means(results, counts)
    for part, row in averages.items():
        times = " | ".join(_times(row["economy"][way]) for way in ("carried", "alone"))
        lines.append(f"| **{part}** | | {moved(row['transfer'])} | | | {times} |")
    fitted = {part: row["adapt"] for part, row in averages.items() if row.get("adapt")}
    if fitted:
        lines += [
            "",
            f"AP with exemplars of {MAIN_COUNT} clicks a class before and after adapting.",
            "",
            "| sets | accepted pictures | before | after |",
            "| --- | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {part} | {number} | {cell(one['before']['carried'])} "
            f"| {cell(one['after']['carried'])} |"
            for part, row in fitted.items()
            for number, one in row.items()
        ]
    return "\n".join(lines) + "\n"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def plot(results: Results, counts: Sequence[int], path: Path) -> None:
    """Draw the means of AP over the clicks a class, and how many times faster each job is."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    height = max(3.4, 0.22 * len(results) + 1)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, height))
    for number, (part, row) in enumerate(means(results, counts).items()):
        for (way, title), style in zip(WAYS.items(), ("-", ":"), strict=True):
            heights = [row["transfer"][str(count)][way]["all"] for count in counts]
            shown = [np.nan if value is None else value for value in heights]
            left.plot(
                counts, shown, style, color=f"C{number}", marker=".", label=f"{part}, {title}"
            )
    left.set_xlabel("clicks a class")
    left.set_xticks(counts)
    left.set_ylim(0, 100)
    left.set_ylabel("AP 0.5 in the other pictures")
    left.grid(alpha=0.3)
    left.legend(fontsize=7)
    ratios = {name: row["economy"]["carried"]["ratio"] or 0.0 for name, row in results.items()}
    names = sorted(ratios, key=lambda name: (results[name]["multi"], ratios[name]))
    colours = ["C1" if results[name]["multi"] else "C0" for name in names]
    right.barh(names, [ratios[name] for name in names], color=colours)
    right.axvline(STUDY.manual_seconds / STUDY.assisted_seconds, color="grey", linestyle=":")
    right.tick_params(axis="y", labelsize=7)
    right.set_xlabel("times faster than by hand (dotted: the paper's study)")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def write(results: Results, counts: Sequence[int], about: dict[str, Any], out: Path) -> None:
    """Write results as JSON, and the table and the plot beside.

    Args:
        results: Of the sets.
        counts: Clicks a class.
        about: What else the JSON file says.
        out: The JSON file.
    """
    content = about | {"counts": list(counts), "means": means(results, counts), "sets": results}
    write_texts(content, table(results, counts), out)
    plot(results, counts, out.with_suffix(".png"))


def load(weights: Path) -> tuple[OpenDetector, Card]:
    """The network of weights, and their card; one is made for weights as training writes them.

    Raises:
        ValueError: They are not those of an open detector.
        WeightsError: They do not go with their card.
        OSError: They cannot be read.
    """
    if card_path(weights).is_file():
        return read_start(weights)
    network = OpenDetector()
    if not fill(network, load_file(weights)):
        raise ValueError(f"{weights} does not hold the weights of an open detector")
    card = Card(
        name=weights.stem,
        classes=(),
        architecture=OpenArchitecture(),
        score_threshold=THRESHOLD,
        typical_sizes=(),
        training={},
        results={},
        licence={},
        tensors=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )
    return network.eval(), card


@command("training.open.jobs")
def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.open.jobs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--sets", default="", help="names joined by commas; without it all")
    parser.add_argument(
        "--pictures",
        type=at_least(2),
        default=MOST_PICTURES,
        help="first ones of each set, at most",
    )
    parser.add_argument("--seeds", type=at_least(1), default=2, help="of random clicks")
    parser.add_argument(
        "--threshold",
        type=positive,
        help=f"of the shown boxes (default: the card's; without a card {THRESHOLD})",
    )
    parser.add_argument("--adapt", type=positive, metavar="MINUTES", help="measure adapting, too")
    options = parser.parse_args(arguments)
    chosen = [name for name in options.sets.split(",") if name] or test_sets.names()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results: Results = {}
    try:
        for name in chosen:
            network, card = load(weights_of(name, options.weights))
            threshold = card.score_threshold if options.threshold is None else options.threshold
            test_set = test_sets.load(name, min(options.pictures, MOST_PICTURES))
            if len(test_set.pictures) < 2:
                print(f"{name}: left out, it has a single picture", flush=True)
                continue
            began = time.monotonic()
            results[name] = measure(network, card, test_set, threshold, options.seeds)
            if options.adapt is not None:
                results[name]["adapt"] = adapted(
                    network, card, test_set, options.adapt, options.seeds
                )
            told = results[name]["economy"]["carried"]["ratio"]
            print(f"{name}: {told} times faster, {time.monotonic() - began:.0f} s", flush=True)
            # Written after each set, so that what was measured is not lost.
            about = {
                "weights": [path.name for path in options.weights],
                "threshold": options.threshold,
                "seeds": options.seeds,
                "study": asdict(STUDY),
            }
            write(results, COUNTS, about, options.out)
    except (OSError, ValueError, WeightsError, SourceError) as error:
        raise SystemExit(f"training.open.jobs: {error}") from error
    if not results:
        raise SystemExit("training.open.jobs: no set has two pictures: choose others with --sets")


def measure(
    network: OpenDetector, card: Card, test_set: TestSet, threshold: float, seeds: int
) -> dict[str, Any]:
    """Transfer and economy of one set."""
    model = OpenModel(network)
    predictor = Predictor(model, card)
    pictures, names = test_set.pictures, test_set.classes
    first = _first(pictures)
    others = [one for one in pictures if one is not first]
    none = Exemplars.none(card.tensors, model.numbers, names)
    moved = transfer(predictor, first, others, names, COUNTS, seeds)
    work = {
        way: economy(
            predictor,
            pictures,
            names,
            threshold,
            none,
            carries=way == "carried",
        ).told()
        for way in ("carried", "alone")
    }
    return {
        "kind": test_set.kind,
        "multi": test_set.is_multi_class,
        "pictures": len(pictures),
        "transfer": moved,
        "economy": work,
    }


if __name__ == "__main__":
    main()
