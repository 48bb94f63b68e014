"""The mmengine runner of a training run.

It logs, also for TensorBoard, and saves a checkpoint every few minutes. A run that was killed goes
on from the last one, with the same pictures, clicks and random choices as if never stopped.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner

from c3det.closed.architecture import Architecture
from c3det.closed.presets import Preset
from c3det.weights import check_classes, read_card
from training import hooks, validation
from training.checkpoints import checkpoints, read_checkpoint, read_record, write_record
from training.clicks.sampling import parse_strategy
from training.clicks.sequences import ClickSequence
from training.data.sets import PictureSet
from training.dataset import TrainingData, ValidationData
from training.initialization import HEADS, TRUNK, initial_detector
from training.settings import RunSettings, TrainingSettings

_CLICK_SEED = 3 * 10**6


def run_record(
    pictures: PictureSet, preset: Preset, settings: TrainingSettings, processes: int
) -> dict[str, Any]:
    """What ``training.json`` and the card of the weights say of a run."""
    origin: Any = "ImageNet"
    licence = dict(pictures.licence)
    if settings.start:
        path = Path(settings.start) / "training.json"
        if not path.is_file():
            raise ValueError(f"there is no run {settings.start}: {path} is missing")
        origin = read_record(path)
        licence = {**origin.get("licence", {}), **licence}
    elif settings.weights:
        card = read_card(Path(settings.weights))
        origin = dict(weights=card.name, sha256=card.identity, classes=list(card.classes))
        licence = {**card.licence, **licence}
    return dict(
        preset=preset,
        classes=list(pictures.classes),
        licence=licence,
        settings=asdict(settings) | dict(sets=list(settings.sets)),
        processes=processes,
        torch=torch.__version__,
        origin=origin,
    )


def build_runner(
    out: Path,
    architecture: Architecture,
    settings: TrainingSettings,
    run: RunSettings = RunSettings(),  # noqa: B008
) -> Runner:
    """Build the runner of a run, or of a killed one that goes on; its ``train()`` trains.

    Args:
        out: Folder of checkpoints and logs; ``architecture.json`` and ``training.json`` in it say
            what is trained, and how.
        architecture: Of the detector.
        settings: How it is trained.
        run: With what.

    Raises:
        OSError: A file of the data cannot be read.
        ValueError: The data, the settings or the start do not fit each other, or ``out`` holds a
            run of other settings, or its checkpoint is none.
        c3det.weights.WeightsError: The weights to start from cannot be read.
    """
    gpu = torch.cuda.is_available()
    parse_strategy(settings.clicks)
    pictures = settings.load_pictures()
    check_classes(list(pictures.classes))  # else the weights could not be exported
    if settings.precision == "float16" and not gpu:
        raise ValueError("float16 needs a GPU")
    if run.launcher == "slurm" and not gpu:
        raise ValueError("Slurm starts a process for each GPU, but torch finds no GPU here")
    if run.launcher == "pytorch" and not gpu and not torch.distributed.is_initialized():
        # mmengine's own start chooses a GPU.
        torch.distributed.init_process_group("gloo")
    # Set by torchrun, and by srun.
    counted = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS"}.get(run.launcher or "none")
    processes = int(os.environ.get(counted) or 1) if counted else 1
    record = run_record(pictures, architecture.preset, settings, processes)
    model = initial_detector(architecture, pictures.classes, settings)
    out.mkdir(parents=True, exist_ok=True)
    if _is_first():
        write_record(out, "architecture", asdict(architecture))
        write_record(out, "training", record)
    found = checkpoints(out)
    if found:
        # mmengine unpickles whatever a checkpoint holds.
        read_checkpoint(found[-1])
    return Runner(
        model=model,
        work_dir=str(out),
        launcher=run.launcher,
        load_from=str(found[-1]) if found else None,
        resume=bool(found),
        randomness=dict(seed=settings.seed),
        experiment_name=str(out.resolve()),
        default_scope="mmdet",
        log_processor=dict(by_epoch=False),
        visualizer=dict(
            type="Visualizer",
            save_dir=str(out),
            vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")],
        ),
        cfg=dict(
            model_wrapper_cfg=dict(
                type="MMDistributedDataParallel",
                forward_sync_buffers=False,
                # A step without any click does not pass every parameter.
                find_unused_parameters=True,
                **({} if gpu else dict(device_ids=None)),
            )
        ),
        **_optimisation(settings),
        **_data(settings, pictures, processes, run.workers),
        **_hooks(settings, pictures, run.checkpoint_every),
    )


def _is_first() -> bool:
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0) == 0


def _optimisation(settings: TrainingSettings) -> dict[str, Any]:
    """The optimiser and the learning rate; mmengine counts forward passes, not steps."""
    rates = {
        **dict.fromkeys(TRUNK, settings.trunk_rate),
        **dict.fromkeys(HEADS, settings.head_rate),
        # The longest name that fits decides: "backbone" is in the branch's names too.
        "click_fusion": 1.0,
    }
    factors = dict(custom_keys={name: dict(lr_mult=rate) for name, rate in rates.items()})
    wrapper: dict[str, Any] = {
        "float32": dict(type="OptimWrapper"),
        "float16": dict(type="AmpOptimWrapper", dtype="float16"),
        "bfloat16": dict(type="BFloat16OptimWrapper"),
    }[settings.precision]
    passes = settings.passes
    warm_up = max(1, min(100, settings.iterations // 10)) * settings.accumulate
    schedule = [dict(type="LinearLR", start_factor=0.01, begin=0, end=warm_up, by_epoch=False)]
    if passes > warm_up:
        schedule.append(
            dict(
                type="CosineAnnealingLR",
                T_max=passes - warm_up,
                begin=warm_up,
                end=passes,
                eta_min=settings.learning_rate * 0.01,
                by_epoch=False,
            )
        )
    return dict(
        optim_wrapper=dict(
            wrapper,
            optimizer=dict(type="AdamW", lr=settings.learning_rate, weight_decay=0.01),
            clip_grad=dict(max_norm=10.0),
            accumulative_counts=settings.accumulate,
            # mmengine logs three lines a tensor.
            paramwise_cfg=factors if set(rates.values()) != {1.0} else None,
        ),
        param_scheduler=schedule,
    )


def _data(
    settings: TrainingSettings, pictures: PictureSet, processes: int, workers: int
) -> dict[str, Any]:
    passes = settings.passes
    clicks = parse_strategy(settings.clicks)
    data = TrainingData(
        pictures, passes * settings.batch * processes, settings.seed, settings.size, clicks
    )
    loading = dict(
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=dict(type="pseudo_collate"),
    )
    loop = dict(type="IterBasedTrainLoop", max_iters=passes)
    content = dict(
        train_cfg=loop,
        train_dataloader=dict(
            dataset=data,
            # In order: what an item is depends on its number. It can skip what a killed run saw.
            sampler=dict(type="InfiniteSampler", shuffle=False),
            batch_size=settings.batch,
            **loading,
        ),
    )
    if settings.validate_every:
        shown = list(pictures.val_pictures(settings.validation_pictures))
        if all(picture.ignored.all() for picture in shown):
            raise ValueError(f"the validation pictures of {pictures.name} hold no object")
        counts = validation.CLICK_COUNTS
        strategy = parse_strategy("uniform")
        clicked = [
            strategy.grow(
                picture,
                ClickSequence(),
                max(counts),
                np.random.default_rng([_CLICK_SEED, number]),
            ).clicks
            for number, picture in enumerate(shown)
        ]
        loop["val_interval"] = settings.validate_every * settings.accumulate
        content |= dict(
            val_cfg=dict(type="ValLoop"),
            val_dataloader=dict(
                dataset=ValidationData(shown, counts, clicked),
                sampler=dict(type="DefaultSampler", shuffle=False),
                batch_size=1,
                **loading,
            ),
            val_evaluator=Evaluator(
                validation.ClickedPrecision(shown, counts, len(pictures.classes))
            ),
        )
    return content


def _hooks(
    settings: TrainingSettings, pictures: PictureSet, checkpoint_every: int
) -> dict[str, Any]:
    clicks = parse_strategy(settings.clicks)
    custom: list[Any] = [hooks.SeedStepsHook(settings.seed)]
    if clicks.error_probability > 0:
        custom.append(hooks.ErrorClicksHook(clicks, settings.seed))
    checkpoint = dict(
        type="BoundaryCheckpointHook",
        interval=checkpoint_every * settings.accumulate,
        by_epoch=False,
        max_keep_ckpts=2,
        backend_args=dict(backend="atomic"),
    )
    if settings.validate_every:
        checkpoint |= dict(save_best="AP", rule="greater")
        custom.append(validation.PicturesHook(pictures.classes))
    if settings.patience:
        custom.append(
            dict(
                type="ResumedEarlyStoppingHook",
                monitor="AP",
                rule="greater",
                patience=settings.patience,
            )
        )
    return dict(
        default_hooks=dict(
            logger=dict(
                type="LoggerHook",
                interval=50 * settings.accumulate,
                log_metric_by_epoch=False,
            ),
            checkpoint=checkpoint,
        ),
        custom_hooks=custom,
    )
