"""Train the open model.

    python -m training.open.train --pool FOLDER --out runs/open --minutes 10 --device cuda

The schedule follows the clock, so that it fits whatever time a machine is available for. The same
command goes on where a run was broken off: with the weights, the optimizer, all random states, the
next batch and the time that was spent. The folder of a run gets ``checkpoint.pt``,
``model.safetensors`` (the averaged weights), ``run.json`` (its record) and TensorBoard's scalars.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from c3det.commands import command
from c3det.open.detector import OpenDetector
from training.open.episodes import Episode, Episodes, From
from training.open.replay import Replay
from training.open.settings import COMPONENTS, OpenTrainingSettings
from training.open.step import StepSettings, run
from training.options import add_options, read_options

CLIP = 5.0
"""Largest norm of the gradients."""

RECENT = 10.0
"""The average of the weights is over the last tenth of the steps so far, about, or fewer."""


class Run:
    """A run, a new one or one that goes on.

    Args:
        pool: Folder that `training.open.make_pool` has made.
        out: The run's folder; if it holds a checkpoint of the same settings, the run goes on.
        settings: Of the run.
        step_settings: Of each step.
        device: To train on.
        processes: That draw pictures; 0: the training itself does.
        checkpoint_minutes: Between two checkpoints.

    Raises:
        ValueError: The checkpoint in ``out`` is of other settings, or a setting does not fit.
    """

    def __init__(
        self,
        pool: Path,
        out: Path,
        settings: OpenTrainingSettings,
        step_settings: StepSettings,
        device: torch.device,
        processes: int,
        checkpoint_minutes: float = 3.0,
    ) -> None:
        self._out, self.settings, self._step_settings = out, settings, step_settings
        self._device, self._cuda = device, device.type == "cuda"
        self._checkpoint_seconds = 60 * checkpoint_minutes
        self.stop = False
        self.step, self.seconds = 0, 0.0
        self._pictures, self._waited = 0, 0.0
        without = settings.left_out(pool)
        self._record = {
            "settings": asdict(settings),
            "step settings": asdict(step_settings),
            "without": sorted(without),
            "trained on": _manifest(pool),
        }
        torch.manual_seed(settings.seed)
        if self._cuda:
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
        self.model = _placed(_new_model(settings, pool), device)
        self._left_out = [
            self.model.get_parameter(name).detach()[:, inputs].zero_()
            for name, inputs in COMPONENTS.get(settings.leave_out, ())
        ]
        self.averaged = _placed(OpenDetector(), device)
        self.averaged.load_state_dict(self.model.state_dict())
        self._averages = _floating(self.averaged)
        self._values = _floating(self.model)
        self._optimizer = _optimizer(self.model, settings, fused=self._cuda)
        checkpoint = self._read_checkpoint()
        episodes = Episodes(
            pool, settings.batch, settings.side, settings.real, without, settings.seed
        )
        self._replay = Replay(settings.reuse, settings.seed, self.step, device)
        self._batches = self._load(episodes, processes)
        if checkpoint is not None:
            self._restore(checkpoint)

    def _read_checkpoint(self) -> dict[str, Any] | None:
        path = self._out / "checkpoint.pt"
        if not path.is_file():
            return None
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        for name in ("settings", "step settings"):
            then, now = checkpoint[name], self._record[name]
            assert isinstance(now, dict)
            changed = sorted(key for key in now if then.get(key) != now[key])
            if changed:
                raise ValueError(
                    f"{path} is of a run with another {', '.join(changed)}; name a new folder or "
                    "the same settings"
                )
        self.step, self.seconds = checkpoint["step"], checkpoint["seconds"]
        return checkpoint

    def _load(self, episodes: Episodes, processes: int) -> Iterator[Episode]:
        loader = DataLoader(
            episodes,
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
        batches = iter(loader)
        self._children = set(multiprocessing.active_children()) - before
        return batches

    def _end_processes(self) -> None:
        self._batches = iter(())  # the loader's iterator tells them to end
        for child in self._children:
            child.join(10)
            if child.is_alive():
                child.kill()

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
        checkpoint = {
            "settings": self._record["settings"],
            "step settings": self._record["step settings"],
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
        """Train to the end, or until `stop` is set, write everything, and end the processes."""
        self._out.mkdir(parents=True, exist_ok=True)
        writer = _scalars(self._out, self.step)
        log = _Log(writer)
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
        self.save()
        self._write_record(finished=not self.stop)
        if writer is not None:
            writer.close()
        self._end_processes()

    def _train_step(self, episode: Episode, rate: float) -> dict[str, Tensor]:
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        losses = run(self.model, episode, self._step_settings, self.settings.bfloat16)
        self._optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        if self._cuda:
            # Read by the fused optimizer, which then changes nothing; no wait for the device.
            self._optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
        if self._cuda or bool(norm.isfinite()):
            self._optimizer.step()
        self.step += 1
        with torch.no_grad():
            for weights in self._left_out:
                weights.zero_()
            # A short run must not average over its bad first steps.
            share = max(1 - self.settings.average, RECENT / (self.step + RECENT))
            torch._foreach_lerp_(self._averages, self._values, share)
        return {name: value.detach() for name, value in losses.items()} | {"norm": norm}

    def _write_record(self, finished: bool) -> None:
        record = self._record | {
            "finished": finished,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "pictures": self._pictures,
            "share of time waited for pictures": round(self._waited / max(self.seconds, 1e-9), 4),
            "device": torch.cuda.get_device_name(self._device)
            if self._cuda
            else platform.machine(),
            "torch": torch.__version__,
        }
        (self._out / "run.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


class _Log:
    """What happened since the last line.

    Attributes:
        waited: Seconds that were waited for pictures.
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


def _new_model(settings: OpenTrainingSettings, pool: Path) -> OpenDetector:
    model = OpenDetector()
    if settings.start:
        _start_from(model, Path(settings.start))
    else:
        state = load_file(pool / "mobilenet.safetensors")
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
        for name, value in load_file(path).items()
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


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the open model.")
    parser.add_argument("--pool", type=Path, required=True, help="made by training.open.make_pool")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1")
    parser.add_argument(
        "--processes",
        type=int,
        default=max(1, (os.cpu_count() or 2) - 1),
        help="that draw pictures (default: one less than there are cores, here %(default)s)",
    )
    parser.add_argument(
        "--checkpoint-minutes", type=float, default=3.0, help="between two (default: %(default)s)"
    )
    add_options(parser, OpenTrainingSettings)
    add_options(parser, StepSettings)
    options = parser.parse_args(arguments)
    try:
        options.settings = read_options(options, OpenTrainingSettings)
        options.step_settings = read_options(options, StepSettings)
    except ValueError as error:
        parser.error(str(error))
    return options


@command("training.open.train")
def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    options = parse(arguments)
    try:
        one = Run(
            options.pool,
            options.out,
            options.settings,
            options.step_settings,
            torch.device(options.device),
            options.processes,
            options.checkpoint_minutes,
        )
    except (OSError, ValueError) as error:
        raise SystemExit(f"training.open.train: {error}") from error

    def end(number: int, frame: FrameType | None) -> None:
        one.stop = True

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, end)
    one.train()


if __name__ == "__main__":
    main()
