"""Average precision of the open model on the test pictures of the real sets."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from c3det.clicks import Click
from c3det.open.predictor import OpenPredictor
from training.open.prepare import is_training


def average_precision(records: list[tuple[float, int]], count: int) -> float:
    if count == 0 or not records:
        return 0.0
    rows = sorted(records, key=lambda row: -row[0])
    true = np.cumsum([row[1] for row in rows])
    false = np.cumsum([1 - row[1] for row in rows])
    recall, precision = true / count, true / (true + false)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0], recall])) * precision))


def match(boxes, scores, objects, ignored):
    used = np.zeros(len(objects), bool)
    rows = []
    for i in np.argsort(-scores, kind="stable"):
        if len(objects) == 0:
            rows.append((float(scores[i]), 0))
            continue
        low = np.maximum(boxes[i, :2], objects[:, :2])
        high = np.minimum(boxes[i, 2:], objects[:, 2:])
        shared = (high - low).clip(0).prod(1)
        union = (boxes[i, 2:] - boxes[i, :2]).prod() + (objects[:, 2:] - objects[:, :2]).prod(1)
        overlap = shared / (union - shared)
        overlap[used] = 0
        best = int(overlap.argmax())
        if overlap[best] >= 0.5:
            used[best] = True
            if not ignored[best]:
                rows.append((float(scores[i]), 1))
        else:
            rows.append((float(scores[i]), 0))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--counts", default="1,3")
    parser.add_argument("--sets", default="")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    predictor = OpenPredictor.load(options.weights, options.device)
    only = set(options.sets.split(",")) - {""}
    results = {}
    for folder in sorted(p for p in options.real.iterdir() if (p / "annotations.json").is_file()):
        if only and folder.name not in only:
            continue
        started = time.time()
        content = json.loads((folder / "annotations.json").read_text())
        names = {c["id"]: n for n, c in enumerate(content["categories"])}
        boxes = {}
        for a in content["annotations"]:
            x, y, w, h = a["bbox"]
            boxes.setdefault(a["image_id"], []).append(
                [x, y, x + w, y + h, names[a["category_id"]]]
            )
        images = sorted(content["images"], key=lambda i: str(i["file_name"]))
        chosen = [i for n, i in enumerate(images) if not is_training(n) and i["id"] in boxes]
        chosen = chosen[: options.pictures]
        agnostic, total, recall = [], 0, 0
        records = {}
        for q, image in enumerate(chosen):
            pixels = np.asarray(Image.open(folder / image["file_name"]).convert("RGB"))
            rows = np.array(boxes[image["id"]], np.float32)
            truth, kinds = rows[:, :4], rows[:, 4].astype(int)
            picture = predictor.encode(pixels)
            found = predictor.any_object(picture)
            rows_ = match(found.boxes[:300], found.scores[:300], truth, np.zeros(len(truth), bool))
            agnostic += rows_
            recall += sum(r[1] for r in rows_)
            total += len(truth)
            present = np.unique(kinds)
            for n in map(int, options.counts.split(",")):
                for seed in range(2):
                    rng = np.random.default_rng([seed, q])
                    clicks, clicked = [], np.zeros(len(truth), bool)
                    for slot, kind in enumerate(present):
                        members = np.flatnonzero(kinds == kind)
                        for m in rng.choice(members, min(n, len(members)), False):
                            clicked[m] = True
                            x1, y1, x2, y2 = truth[m]
                            x = (x1 + x2) / 2 + rng.uniform(-0.15, 0.15) * (x2 - x1)
                            y = (y1 + y2) / 2 + rng.uniform(-0.15, 0.15) * (y2 - y1)
                            clicks.append(Click(float(x), float(y), slot))
                    found = predictor.detect(picture, clicks)
                    for slot, kind in enumerate(present):
                        mine = found.labels == slot
                        key = (n, seed, int(kind))
                        rec, count = records.setdefault(key, ([], [0]))
                        rec += match(
                            found.boxes[mine],
                            found.scores[mine],
                            truth[kinds == kind],
                            clicked[kinds == kind],
                        )
                        count[0] += int((~clicked[kinds == kind]).sum())
        row = {
            "kinds": float(np.mean([len(set(r[4] for r in boxes[i["id"]])) for i in chosen])),
            "agnostic": 100 * average_precision(agnostic, total),
            "recall": 100 * recall / max(total, 1),
        }
        for n in map(int, options.counts.split(",")):
            values = [
                average_precision(rec, count[0])
                for (m, _, _), (rec, count) in records.items()
                if m == n and count[0]
            ]
            row[str(n)] = 100 * float(np.mean(values)) if values else None
        results[folder.name] = row
        print(
            folder.name.ljust(18),
            {k: None if v is None else round(v, 1) for k, v in row.items()},
            f"{time.time() - started:.1f} s",
            flush=True,
        )
    single = [r["3"] for r in results.values() if r["kinds"] == 1 and r.get("3") is not None]
    multi = [r["3"] for r in results.values() if r["kinds"] > 1 and r.get("3") is not None]
    print(
        "single",
        np.mean(single) if single else None,
        "multi",
        np.mean(multi) if multi else None,
        "recall",
        np.mean([r["recall"] for r in results.values()]),
    )
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
