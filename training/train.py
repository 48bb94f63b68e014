"""Train a detector: ``python -m training.train --set composite --set trees --out runs/c3det``.

The run is mmengine's. It logs, also for TensorBoard, and saves a checkpoint every few minutes.
Killed at any moment and started again with the same command it goes on from the last checkpoint
with the same pictures, clicks and random choices as if never stopped, and on a CPU ends with the
same weights to the last bit.

With ``torchrun --nproc-per-node 8 -m training.train ...`` each process takes a GPU and its share of
every step; on several nodes torchrun is told their number and a meeting point, or Slurm starts the
processes (``srun``) and ``--launcher slurm`` reads its variables.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from c3det.commands import at_least, command, naming, positive
from c3det.configs import Architecture, Fusion, Preset, Stages
from c3det.mmdet_adapter import ClickDetector, build_detector
from c3det.weights import WeightsError, check_classes, read_card
from training import hooks, validation
from training.clicks.sampling import parse_strategy
from training.clicks.sequences import ClickSequence
from training.data.pictures import PictureError
from training.data.sets import FewObjects, PictureSet, load_sets
from training.dataset import TrainingData, ValidationData
from training.starting import (
    checkpoints,
    imagenet_mobilenet,
    imagenet_resnet,
    read_about,
    read_checkpoint,
    start_from,
    start_from_weights,
)

Precision = Literal["float32", "float16", "bfloat16"]
Launcher = Literal["none", "pytorch", "slurm"]

TRUNK = ("backbone", "neck")
HEADS = ("bbox_head", "rpn_head", "roi_head")
CLICKS = ("click_fusion",)

_CLICK_SEED = 3 * 10**6


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run is trained; with the architecture, all that decides its weights.

    Attributes:
        sets: Specs of `training.data.sets.load_sets`.
        iterations: Steps of the optimiser in all.
        batch: Pictures of one process in one forward pass.
        accumulate: Forward passes a step, whose gradients are averaged.
        seed: Of the initial weights, the pictures, the clicks and all other random choices.
        size: Side of a crop in pixels.
        learning_rate: Of AdamW, after the warm-up, falling as a cosine.
        trunk_rate: Factor on it for backbone and neck; 0 freezes them. The BatchNorm statistics
            of all backbones are frozen always, since batches are small.
        head_rate: Factor for the heads.
        click_rate: Factor for the way of the clicks.
        clicks: A spec of `training.clicks.sampling.parse_strategy`.
        balance: See `training.data.sets.FolderSet`.
        turns: See `training.data.sets.FolderSet`.
        objects: Train on so few objects, see `training.data.sets.FewObjects`; ``None``: on all.
        precision: ``"float16"`` (GPU only) and ``"bfloat16"`` compute the forward pass in mixed
            precision; boxes and the reading of regions stay in float32.
        start: Folder of a finished run to start from, see `training.starting.start_from`.
        weights: ``.safetensors`` file to start from, see `training.starting.start_from_weights`.
        backbone: File of torchvision's ImageNet weights, for the preset ``"paper"``; the
            ``"starter"`` fetches its own. It is needed only without ``start`` and ``weights``.
        validate_every: Steps between two validations; 0: none.
        validation_pictures: How many pictures are validated on.
        patience: Validations without a better AP after which the run stops; 0: it never does.
    """

    sets: tuple[str, ...]
    iterations: int = 2000
    batch: int = 8
    accumulate: int = 1
    seed: int = 0
    size: int = 256
    learning_rate: float = 1.5e-3
    trunk_rate: float = 1.0
    head_rate: float = 1.0
    click_rate: float = 1.0
    clicks: str = "mixed"
    balance: float = 0.5
    turns: bool = True
    objects: int | None = None
    precision: Precision = "float32"
    start: str | None = None
    weights: str | None = None
    backbone: str | None = None
    validate_every: int = 0
    validation_pictures: int = 12
    patience: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "accumulate", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, it is {getattr(self, name)}")
        if self.start and self.weights:
            raise ValueError("a run starts from another run or from weights, not from both")
        if self.patience and not self.validate_every:
            raise ValueError("stopping early needs validations: set how often they are made")

    def load_pictures(self) -> PictureSet:
        """Load what the run trains on."""
        pictures = load_sets(self.sets, balance=self.balance, rotate=self.turns)
        if self.objects is not None:
            return FewObjects(pictures, self.objects, self.size)
        return pictures


def describe(
    pictures: PictureSet, preset: Preset, settings: Settings, processes: int
) -> dict[str, Any]:
    """What ``training.json`` and the card of the weights tell of a run."""
    origin: Any = "ImageNet"
    licence = dict(pictures.licence)
    if settings.start:
        path = Path(settings.start) / "training.json"
        if not path.is_file():
            raise ValueError(f"there is no run {settings.start}: {path} is missing")
        origin = read_about(path)
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


def remember(out: Path, name: str, content: dict[str, Any]) -> None:
    """Write ``<name>.json`` of a run, or check that the run was begun with the same content.

    Raises:
        ValueError: It was begun with another one; the message names what differs.
    """
    path = out / f"{name}.json"
    content = json.loads(json.dumps(content))
    if path.is_file() and checkpoints(out):
        before = read_about(path)
        keys = {**before, **content}.keys() - {"torch"}
        differ = sorted(key for key in keys if before.get(key) != content.get(key))
        if differ == ["settings"] and isinstance(before.get("settings"), dict):
            old, new = before["settings"], content["settings"]
            differ = [f"{k} {old.get(k)} -> {new.get(k)}" for k in new if old.get(k) != new[k]]
        if differ:
            raise ValueError(
                f"{out} was begun with another {name} ({', '.join(differ)}): go on with the same "
                "command, or choose another folder"
            )
    part = path.with_suffix(".part")
    with naming(path):
        part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


def begin(
    architecture: Architecture, classes: tuple[str, ...], settings: Settings
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
        raise ValueError("the preset paper starts from a file with ImageNet weights: name it")
    if settings.trunk_rate == 0 and model.early_sigma is not None:
        raise ValueError("early fusion brings clicks in through the trunk, so it cannot be frozen")
    rates = ((TRUNK, settings.trunk_rate), (HEADS, settings.head_rate))
    for names, rate in (*rates, (CLICKS, settings.click_rate)):
        for part in (getattr(model, name, None) for name in names):
            if rate == 0 and part is not None:
                part.requires_grad_(False)
    return model


def prepare(
    out: Path,
    architecture: Architecture,
    settings: Settings,
    *,
    checkpoint_every: int = 200,
    workers: int = 0,
    launcher: Launcher = "none",
) -> Runner:
    """Make all that a run needs, or all that a killed one needs to go on; ``train()`` starts it.

    Args:
        out: Folder of checkpoints and logs; ``architecture.json`` and ``training.json`` in it say
            what is trained, and how.
        architecture: Of the detector.
        settings: How.
        checkpoint_every: Steps between two checkpoints; a killed run loses no more.
        workers: Processes that prepare pictures beside each training process.
        launcher: Who started the processes of a run on several GPUs.

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
    if launcher == "slurm" and not gpu:
        raise ValueError("Slurm is told one GPU a process, but torch finds no GPU here")
    if launcher == "pytorch" and not gpu and not torch.distributed.is_initialized():
        # mmengine's own start chooses a GPU.
        torch.distributed.init_process_group("gloo")
    processes = int(os.environ.get("WORLD_SIZE") or 1) if launcher == "pytorch" else 1
    if launcher == "slurm":
        processes = int(os.environ["SLURM_NTASKS"])
    about = describe(pictures, architecture.preset, settings, processes)
    model = begin(architecture, pictures.classes, settings)
    out.mkdir(parents=True, exist_ok=True)
    if _is_first():
        remember(out, "architecture", asdict(architecture))
        remember(out, "training", about)
    found = checkpoints(out)
    if found:
        # mmengine unpickles whatever a checkpoint holds.
        read_checkpoint(found[-1])
    return Runner(
        model=model,
        work_dir=str(out),
        launcher=launcher,
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
        **_data(settings, pictures, processes, workers),
        **_hooks(settings, pictures, checkpoint_every),
    )


def _is_first() -> bool:
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0) == 0


def _optimisation(settings: Settings) -> dict[str, Any]:
    """The optimiser and the learning rate; mmengine counts forward passes, not steps."""
    rates = {
        **dict.fromkeys(TRUNK, settings.trunk_rate),
        **dict.fromkeys(HEADS, settings.head_rate),
        # The longest name that fits decides: "backbone" is in the branch's names too.
        **dict.fromkeys(CLICKS, settings.click_rate),
    }
    factors = dict(custom_keys={name: dict(lr_mult=rate) for name, rate in rates.items()})
    wrapper: dict[str, Any] = {
        "float32": dict(type="OptimWrapper"),
        "float16": dict(type="AmpOptimWrapper", dtype="float16"),
        "bfloat16": dict(type="BFloat16OptimWrapper"),
    }[settings.precision]
    passes = settings.iterations * settings.accumulate
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


def _data(settings: Settings, pictures: PictureSet, processes: int, workers: int) -> dict[str, Any]:
    passes = settings.iterations * settings.accumulate
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


def _hooks(settings: Settings, pictures: PictureSet, checkpoint_every: int) -> dict[str, Any]:
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


def _uel(text: str) -> bool | dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, bool | dict):
        raise argparse.ArgumentTypeError("true, false or a JSON object is needed")
    return value


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the run")
    add(
        "--set",
        dest="sets",
        action="append",
        metavar="SET[=PART]",
        required=True,
        help="composite, trees, rendered, or a folder with train.json; several are joined",
    )
    detector = parser.add_argument_group("the detector (with --weights it is theirs)")
    detector.add_argument("--preset", choices=get_args(Preset), help="starter unless told")
    detector.add_argument("--stages", choices=get_args(Stages), help="two-stage unless told")
    detector.add_argument("--fusion", choices=get_args(Fusion), help="c3det unless told")
    detector.add_argument("--late", action=argparse.BooleanOptionalAction)
    detector.add_argument(
        "--correlation", type=json.loads, metavar="JSON", help="fields in place of the preset's"
    )
    detector.add_argument(
        "--uel", type=_uel, metavar="JSON", help="true, false, or fields in place of the preset's"
    )
    detector.add_argument("--sigma", type=float, help="of the drawn clicks, in pixels")
    begin_ = parser.add_argument_group("where it starts (ImageNet weights unless told)")
    begin_.add_argument("--start", metavar="RUN", help="folder of a finished run to add clicks to")
    begin_.add_argument("--weights", help=".safetensors file to fine-tune, also to other classes")
    begin_.add_argument("--backbone", help="file of ImageNet weights for the preset paper")
    how = parser.add_argument_group("how")
    how.add_argument("--iterations", type=int, default=2000, help="steps (%(default)s)")
    how.add_argument("--batch", type=int, default=8, help="pictures a process (%(default)s)")
    how.add_argument("--accumulate", type=int, default=1, help="batches a step (%(default)s)")
    how.add_argument("--size", type=int, help="side of a crop, in pixels")
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--learning-rate", type=positive, default=1.5e-3)
    how.add_argument("--trunk-rate", type=float, help="factor for backbone and neck; 0 freezes")
    how.add_argument("--head-rate", type=float, help="factor for the heads")
    how.add_argument("--click-rate", type=float, default=1.0, help="factor for the clicks' way")
    how.add_argument("--clicks", default="mixed", help="click strategy, NAME[,FIELD=VALUE...]")
    how.add_argument(
        "--balance", type=float, default=0.5, help="of a folder: part of balanced crops"
    )
    how.add_argument("--turns", action=argparse.BooleanOptionalAction, default=True)
    how.add_argument("--objects", type=int, help="train on no more than about so many objects")
    how.add_argument("--precision", choices=get_args(Precision), default="float32")
    how.add_argument("--validate-every", type=int, default=0, metavar="STEPS")
    how.add_argument("--validation-pictures", type=int, default=12)
    how.add_argument("--patience", type=int, default=0, help="validations without gain, then stop")
    where = parser.add_argument_group("with what")
    where.add_argument("--checkpoint-every", type=int, default=200, metavar="STEPS")
    where.add_argument(
        "--workers", type=at_least(0), default=0, help="processes that prepare pictures"
    )
    where.add_argument("--threads", type=at_least(1), default=torch.get_num_threads())
    where.add_argument(
        "--launcher",
        choices=get_args(Launcher),
        default="pytorch" if "TORCHELASTIC_RUN_ID" in os.environ else "none",
    )
    return parser


def chosen_architecture(given: argparse.Namespace) -> Architecture:
    """The detector that a command line chooses.

    Raises:
        ValueError: It chooses weights and an architecture, or a field of the architecture has a
            value that it cannot have.
        c3det.weights.WeightsError: The weights cannot be read.
    """
    names = ("stages", "fusion", "late", "correlation", "uel", "sigma")
    options = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    if given.weights is None:
        return Architecture(given.preset or "starter", **options)
    if options or given.preset:
        name = next(iter(options), "preset")
        raise ValueError(f"the detector comes with the weights, so --{name} cannot be chosen")
    return read_card(Path(given.weights)).closed_architecture


@command("python -m training.train")
def main(arguments: list[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argument_parser()
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    # A finished detector is disturbed less by clicks that are added to it.
    detector_rate = 0.2 if given.start else 1.0
    try:
        architecture = chosen_architecture(given)
        size = {"starter": 256, "paper": 1024}[architecture.preset]
        settings = Settings(
            sets=tuple(given.sets),
            iterations=given.iterations,
            batch=given.batch,
            accumulate=given.accumulate,
            seed=given.seed,
            size=size if given.size is None else given.size,
            learning_rate=given.learning_rate,
            trunk_rate=detector_rate if given.trunk_rate is None else given.trunk_rate,
            head_rate=detector_rate if given.head_rate is None else given.head_rate,
            click_rate=given.click_rate,
            clicks=given.clicks,
            balance=given.balance,
            turns=given.turns,
            objects=given.objects,
            precision=given.precision,
            start=given.start,
            weights=given.weights,
            backbone=given.backbone,
            validate_every=given.validate_every,
            validation_pictures=given.validation_pictures,
            patience=given.patience,
        )
        runner = prepare(
            given.out,
            architecture,
            settings,
            checkpoint_every=given.checkpoint_every,
            workers=given.workers,
            launcher=given.launcher,
        )
    except (ValueError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    try:
        runner.train()
    except PictureError as error:
        # One of a worker process comes with its traceback, and its own sentence at the end.
        told = str(error).rpartition(f"{PictureError.__name__}: ")[2].strip()
        parser.exit(2, f"{parser.prog}: {told}\n")


if __name__ == "__main__":
    main()
