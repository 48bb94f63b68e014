"""Train the open model.

    python -m training.open.train --pool FOLDER --minutes 10 --out runs/open

The schedule follows the clock, so that it fits whatever time there is.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from c3det.open.detector import OpenDetector
from training.open.episodes import Episodes
from training.open.step import Settings, run


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--real", type=float, default=0.5)
    parser.add_argument("--reuse", type=int, default=1)
    parser.add_argument("--without", default="", help="names of real sets, joined by commas")
    parser.add_argument("--start", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    amp = device.type == "cuda"
    torch.manual_seed(options.seed)
    if amp:
        torch.backends.cuda.matmul.allow_tf32 = True
    model = OpenDetector().to(device)
    if options.start:
        model.load_state_dict(load_file(options.start), strict=False)
    else:
        state = load_file(options.pool / "mobilenet.safetensors")
        model.backbone.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    model = model.to(memory_format=torch.channels_last)
    backbone = list(model.backbone.parameters())
    known = {id(p) for p in backbone}
    rest = [p for p in model.parameters() if id(p) not in known]
    optimizer = torch.optim.AdamW(
        [{"params": backbone, "scale": 0.4}, {"params": rest, "scale": 1.0}],
        lr=options.rate,
        weight_decay=1e-3,
        fused=amp,
    )
    without = frozenset(options.without.split(",")) - {""}
    loader = DataLoader(
        Episodes(options.pool, options.batch, options.side, options.real, without, options.seed),
        batch_size=None,
        num_workers=options.processes,
        pin_memory=amp,
        prefetch_factor=4 if options.processes else None,
    )
    settings = Settings()
    averaged = OpenDetector().to(device)
    averaged.load_state_dict(model.state_dict())
    pairs = [
        (mean, value)
        for mean, value in zip(
            averaged.state_dict().values(), model.state_dict().values(), strict=True
        )
        if value.is_floating_point()
    ]
    means, values = [mean for mean, _ in pairs], [value for _, value in pairs]
    batches = iter(loader)
    episode = next(batches).to(device)
    started = time.perf_counter()
    step, waited, sums, since = 0, 0.0, defaultdict(float), 0
    while True:
        share = (time.perf_counter() - started) / (60 * options.minutes)
        if share >= 1:
            break
        warm = min(1.0, (step + 1) / 300)
        rate = options.rate * warm * (0.5 * (1 + math.cos(math.pi * share)) + 0.005)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        losses = run(model, episode, settings, amp)
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        if amp or bool(norm.isfinite()):
            optimizer.step()
        step += 1
        since += 1
        with torch.no_grad():
            torch._foreach_lerp_(means, values, max(0.002, 1 / (step + 1)))
        for name, value in losses.items():
            sums[name] += value.detach()
        if step % options.reuse == 0:
            before = time.perf_counter()
            episode = next(batches).to(device)
            waited += time.perf_counter() - before
        if step % (100 if amp and step > 200 else 20) == 0:
            spent = time.perf_counter() - started
            shown = {name: round(float(value) / since, 3) for name, value in sums.items()}
            print(
                f"{spent:.0f} s, step {step}, waited {waited:.1f} s, rate {rate:.1e}, {shown}",
                flush=True,
            )
            sums, since = defaultdict(float), 0
        if step % 1000 == 0:
            save(averaged, options.out / "model.safetensors")
    save(averaged, options.out / "model.safetensors")
    (options.out / "run.json").write_text(
        json.dumps(
            {
                "steps": step,
                "batch": options.batch,
                "minutes": options.minutes,
                "real": options.real,
                "without": sorted(without),
            }
        )
    )


def save(model: OpenDetector, path: Path) -> None:
    """Write the weights in half precision."""
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
        if "num_batches_tracked" not in name
    }
    save_file(state, path)


if __name__ == "__main__":
    main()
