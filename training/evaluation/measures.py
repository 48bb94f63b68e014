"""The former name of `training.evaluation.metrics`, until `training.open` is renamed."""

from training.evaluation.metrics import *  # noqa: F403
