"""Train the open model.

    python -m training.open.train --pool FOLDER --out runs/open --minutes 10 --device cuda

The schedule follows the clock, so that it fits whatever time a machine is available for. The same
command goes on where a run was broken off: with the weights, the optimizer, all random states, the
next batch and the time that was spent. The folder of a run gets ``checkpoint.pt``,
``model.safetensors`` (the averaged weights), ``run.json`` (its record) and TensorBoard's scalars.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader

from c3det.commands import at_least, command, positive
from c3det.open.detector import OpenDetector
from training.open.episodes import Episode, Episodes, From
from training.open.records import RECORD, record_of
from training.open.replay import Replay
from training.open.settings import COMPONENTS, OpenTrainingSettings
from training.open.step import StepSettings, run
from training.options import (
    add_options,
    command_parser,
    input_errors,
    option,
    read_options,
    usable_device,
)
from training.weights_files import read_tensors

CLIP = 5.0
"""Largest norm of the gradients."""

RECENT = 10.0
"""The average of the weights is over the last tenth of the steps so far, about, or fewer."""

PATIENCE = 5.0
"""Seconds that the processes that draw pictures have to end, before they are ended."""


def usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """With what a run is trained; each field is an option of the command line.

    Attributes:
        pool: Folder that `training.open.make_pool` has made.
        out: The run's folder; if it holds a checkpoint of the same settings, the run goes on.
        device: To train on.
        processes: That draw pictures; 0: the training itself does.
        checkpoint_minutes: Between two checkpoints.
    """

    pool: Path = option(MISSING, "made by training.open.make_pool")
    out: Path = option(MISSING, "the run's folder")
    device: str = option("cpu", "cpu, cuda, cuda:1", parse=usable_device)
    processes: int | None = option(
        None,
        "that draw pictures; 0: the training itself does (default: one less than there are usable "
        f"cores, here {max(1, usable_cores() - 1)})",
        parse=at_least(0),
    )
    checkpoint_minutes: float = option(3.0, "between two checkpoints", parse=positive)

    def __post_init__(self) -> None:
        if self.processes is None:
            object.__setattr__(self, "processes", max(1, usable_cores() - 1))


class Run:
    """A run, a new one or one that goes on.

    Args:
        how: Where everything is, and with what it is trained.
        settings: Of the run.
        step_settings: Of each step.

    Raises:
        OSError: A file cannot be read.
        ValueError: The checkpoint in the run's folder is of other settings, of another prepared
            folder, of other weights to start from or of another kind of device; or a setting does
            not fit.
        c3det.weights.WeightsError: The card of the weights to start from cannot be read.
    """

    def __init__(
        self, how: RunSettings, settings: OpenTrainingSettings, step_settings: StepSettings
    ) -> None:
        pool, device = how.pool, torch.device(how.device)
        self._out, self.settings, self._step_settings = how.out, settings, step_settings
        self._device, self._cuda = device, device.type == "cuda"
        self._processes = how.processes or 0
        self._checkpoint_seconds = 60 * how.checkpoint_minutes
        self.stop = False
        self.step, self.seconds = 0, 0.0
        self._pictures, self._waited = 0, 0.0
        without = settings.left_out(pool)
        self._record: dict[str, Any] = {
            "settings": asdict(settings),
            "step settings": asdict(step_settings),
            "without": sorted(without),
            "trained on": _manifest(pool),
        }
        if settings.start:
            self._record["origin"] = _origin(Path(settings.start))
        self._inputs = {
            "pool": self._record["trained on"]["sha256"],
            "start": self._record["origin"]["sha256"] if settings.start else None,
            "kind of device": device.type,
        }
        torch.manual_seed(settings.seed)
        if self._cuda:
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True  # all steps have the same shapes
        self.model = _placed(_new_model(settings, pool), device)
        self._left_out = [
            self.model.get_parameter(name).detach()[:, inputs].zero_()
            for name, inputs in COMPONENTS.get(settings.leave_out, ())
        ]
        self.averaged = _placed(OpenDetector(), device)
        self.averaged.load_state_dict(self.model.state_dict())
        self._averages = _floating(self.averaged)
        self._values = _floating(self.model)
        self._statistics = [one for name, one in self.model.named_buffers() if "running" in name]
        self._optimizer = _optimizer(self.model, settings, fused=self._cuda)
        checkpoint = self._read_checkpoint()
        self._episodes = Episodes(
            pool, settings.batch, settings.side, settings.real, without, settings.seed
        )
        self._replay = Replay(settings.reuse, settings.seed, self.step, device)
        if checkpoint is not None:
            self._restore(checkpoint)

    def _read_checkpoint(self) -> dict[str, Any] | None:
        path = self._out / "checkpoint.pt"
        if not path.is_file():
            return None
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        changed: set[str] = set()
        for name, now in self._identity().items():
            then = checkpoint.get(name, {})
            changed |= {key for key in now if then.get(key) != now[key]}
        if changed:
            raise ValueError(
                f"{path} is of a run with another {', '.join(sorted(changed))}; name a new folder "
                "or the same settings"
            )
        self.step, self.seconds = checkpoint["step"], checkpoint["seconds"]
        return checkpoint

    def _identity(self) -> dict[str, dict[str, Any]]:
        """All that has to be the same when the run goes on."""
        return {
            "settings": asdict(self.settings),
            "step settings": asdict(self._step_settings),
            "inputs": self._inputs,
        }

    def _start_processes(self) -> None:
        processes = self._processes
        loader = DataLoader(
            self._episodes,
            batch_size=None,
            sampler=From(self._replay.first),
            num_workers=processes,
            pin_memory=self._cuda,
            prefetch_factor=4 if processes else None,
            multiprocessing_context="fork" if processes else None,
            worker_init_fn=_leave_signals_alone,
            generator=torch.Generator(),  # that the global random state is left alone
        )
        before = set(multiprocessing.active_children())
        self._batches: Iterator[Episode] = iter(loader)
        self._children = set(multiprocessing.active_children()) - before

    def _end_processes(self) -> None:
        # The loader's iterator tells them to end, unless an error still holds it.
        self._batches = iter(())
        until = time.monotonic() + PATIENCE
        for child in self._children:
            child.join(max(0.0, until - time.monotonic()))
        left = [child for child in self._children if child.is_alive()]
        # PyTorch takes a process that is killed for an error of its own.
        handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for child in left:
            child.kill()
            child.join()
        signal.signal(signal.SIGCHLD, handler)

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        self.model.load_state_dict(checkpoint["model"])
        self.averaged.load_state_dict(checkpoint["averaged"])
        self._optimizer.load_state_dict(checkpoint["optimizer"])
        self._pictures, self._waited = checkpoint["pictures"], checkpoint["waited"]
        torch.set_rng_state(checkpoint["random"])
        if self._cuda:
            torch.cuda.set_rng_state(checkpoint["random on cuda"], self._device)

    def save(self) -> None:
        """Write the checkpoint and the averaged weights."""
        checkpoint = self._identity() | {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "pictures": self._pictures,
            "waited": self._waited,
            "random": torch.get_rng_state(),
        }
        if self._cuda:
            checkpoint["random on cuda"] = torch.cuda.get_rng_state(self._device)
        temporary = self._out / "checkpoint.pt.new"
        torch.save(checkpoint, temporary)
        temporary.replace(self._out / "checkpoint.pt")
        save_weights(self.averaged, self._out / "model.safetensors")

    def train(self) -> None:
        """Train to the end, or until `stop` is set, and write everything.

        The processes that draw pictures end with it, after an error, too.
        """
        self._out.mkdir(parents=True, exist_ok=True)
        self._start_processes()
        try:
            writer = _scalars(self._out, self.step)
            self._make_steps(_Log(writer))
            self.save()
            self._write_record(finished=not self.stop)
            if writer is not None:
                writer.close()
        finally:
            self._end_processes()

    def _make_steps(self, log: _Log) -> None:
        before = self.seconds
        started = saved = time.monotonic()
        while not self.stop:
            now = time.monotonic()
            self.seconds = before + now - started
            share = self.settings.share(self.step, self.seconds)
            if share >= 1:
                break
            asked = time.monotonic()
            episode = self._replay.take(self.step, self._batches)
            took = time.monotonic() - asked
            log.waited, self._waited = log.waited + took, self._waited + took
            rate = self.settings.rate_at(self.step, share)
            log.add(self._train_step(episode, rate), self.settings.batch)
            self._pictures += self.settings.batch
            if log.is_due(self._cuda):
                log.write(self.step, self.seconds, rate)
            if now - saved >= self._checkpoint_seconds:
                self.save()
                saved = now

    def _train_step(self, episode: Episode, rate: float) -> dict[str, Tensor]:
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        statistics = _joined(self._statistics)
        losses = run(self.model, episode, self._step_settings, self.settings.bfloat16)
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.stack(list(losses.values())).sum()
        # On a CPU the way back through a picture that was read at NaN crashes.
        if self._cuda or bool(total.isfinite()):
            total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        # Where a number is not finite the step changes nothing, without a wait for the device.
        finite = norm.isfinite() & total.isfinite()
        if self._cuda:
            # Read by the fused optimizer.
            self._optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        if self._cuda or bool(finite):
            self._optimizer.step()
        self.step += 1
        with torch.no_grad():
            kept = torch.where(finite, _joined(self._statistics), statistics)
            torch._foreach_copy_(self._statistics, kept.split(list(map(len, self._statistics))))
            for weights in self._left_out:
                weights.zero_()
            # A short run must not average over its bad first steps.
            share = max(1 - self.settings.average, RECENT / (self.step + RECENT))
            moved = torch._foreach_sub(self._values, self._averages)
            torch._foreach_mul_(moved, finite * share)
            torch._foreach_add_(self._averages, moved)
        return {name: value.detach() for name, value in losses.items()} | {"norm": norm}

    def _write_record(self, finished: bool) -> None:
        record = self._record | {
            "finished": finished,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "pictures": self._pictures,
            "pictures drawn": -(-self.step // self.settings.reuse) * self.settings.batch,
            "share of time waited for pictures": round(self._waited / max(self.seconds, 1e-9), 4),
            "device": torch.cuda.get_device_name(self._device)
            if self._cuda
            else platform.machine(),
            "torch": torch.__version__,
        }
        (self._out / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


class _Log:
    """What happened since the last line.

    Attributes:
        waited: Seconds that the host waited for pictures.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._start()

    def _start(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps, self._pictures = 0, 0
        self._since = time.monotonic()
        self.waited = 0.0

    def add(self, losses: dict[str, Tensor], pictures: int) -> None:
        """Add the losses of a step on so many pictures."""
        self._steps, self._pictures = self._steps + 1, self._pictures + pictures
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def is_due(self, many: bool) -> bool:
        """Whether it is time for a line; reading the losses waits for the device."""
        return self._steps >= (100 if many else 20)

    def write(self, step: int, seconds: float, rate: float) -> None:
        """Print a line and write the scalars."""
        means = {name: float(value) / self._steps for name, value in self._sums.items()}
        took = max(time.monotonic() - self._since, 1e-9)
        speed, waited = self._pictures / took, self.waited / took
        shown = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
        print(
            f"{seconds:.0f} s, step {step}: {speed:.1f} pictures/s, {waited:.0%} waited for "
            f"pictures, rate {rate:.1e}; {shown}",
            flush=True,
        )
        scalars = {f"loss/{name}": value for name, value in means.items()}
        scalars |= {"rate": rate, "pictures a second": speed, "waited for pictures": waited}
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)
        self._start()


def _scalars(out: Path, step: int) -> Any:
    """TensorBoard's writer, None where it is not installed: the lines are printed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed: its scalars are left out", flush=True)
        return None
    return SummaryWriter(str(out), purge_step=step)


def _leave_signals_alone(number: int) -> None:
    """A process that draws pictures ends with the run, which a signal only asks to end."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)


def _manifest(pool: Path) -> dict[str, Any]:
    """What a prepared folder says of itself, without its list of files."""
    content = (pool / "manifest.json").read_bytes()
    kept = {name: value for name, value in json.loads(content).items() if name != "files"}
    return kept | {"sha256": hashlib.sha256(content).hexdigest()}


def _origin(start: Path) -> dict[str, Any]:
    """Which weights a run starts from, and what is known of their own training."""
    content = start.read_bytes()
    about = {"weights": start.name, "sha256": hashlib.sha256(content).hexdigest()}
    return record_of(start) | about


def _new_model(settings: OpenTrainingSettings, pool: Path) -> OpenDetector:
    model = OpenDetector()
    if settings.start:
        _start_from(model, Path(settings.start))
    else:
        state = read_tensors(pool / "mobilenet.safetensors")
        model.backbone.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return model


def _start_from(model: OpenDetector, path: Path) -> None:
    """Load weights; what they do not have, or have in another shape, begins anew and is named.

    Raises:
        ValueError: They have nothing in common with the model.
    """
    own = model.state_dict()
    state = {
        name: value.float()
        for name, value in read_tensors(path).items()
        if name in own and own[name].shape == value.shape
    }
    if not state:
        raise ValueError(f"start: {path} has no weights of the open model")
    model.load_state_dict(state, strict=False)
    anew = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    if anew:
        print(f"not in {path}, begin anew: {', '.join(anew)}", flush=True)


def _placed(model: OpenDetector, device: torch.device) -> OpenDetector:
    model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of one axis, one after the other, copied."""
    return torch.cat(list(tensors))


def _floating(model: OpenDetector) -> list[Tensor]:
    """All tensors of a model that can be averaged, BatchNorm's statistics among them."""
    return [value for value in model.state_dict().values() if value.is_floating_point()]


def _optimizer(
    model: OpenDetector, settings: OpenTrainingSettings, *, fused: bool
) -> torch.optim.AdamW:
    backbone = list(model.backbone.parameters())
    known = {id(parameter) for parameter in backbone}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups = [
        {"params": backbone, "scale": settings.backbone_rate},
        {"params": rest, "scale": 1.0},
    ]
    return torch.optim.AdamW(
        groups, lr=settings.rate, weight_decay=settings.decay, fused=fused or None
    )


def save_weights(model: OpenDetector, path: Path) -> None:
    """Write weights in half precision."""
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
        if "num_batches_tracked" not in name
    }
    temporary = path.with_name(path.name + ".new")
    save_file(state, temporary)
    temporary.replace(path)


@command("python -m training.open.train")
def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = command_parser("training.open.train", __doc__)
    for each in (RunSettings, OpenTrainingSettings, StepSettings):
        add_options(parser, each)
    given = parser.parse_args(arguments)
    with input_errors(parser):
        one = Run(
            read_options(given, RunSettings),
            read_options(given, OpenTrainingSettings),
            read_options(given, StepSettings),
        )

    def end(number: int, frame: FrameType | None) -> None:
        one.stop = True

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, end)
    one.train()


if __name__ == "__main__":
    main()
