"""A program that says what a process holds for a picture, and what the picture says it takes."""

from __future__ import annotations

GROWTH = """
import gc, json, sys
import numpy as np, torch
from c3det.clicks import Click
from c3det.predictor import load

def held():
    gc.collect()
    tensors = (one for one in gc.get_objects() if issubclass(type(one), torch.Tensor))
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())

weights, side, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) << 20
predictor = load(weights)
image = np.zeros((side, side, 3), np.uint8)
before, rows = held(), []
picture = predictor.open(image, limit)
clicks = [Click(100, 100, 0), Click(side - 50, side - 60, 3)]
for number in range(3):
    picture.detect(clicks[:number])
    rows.append((held() - before + image.nbytes, picture.nbytes))
print(json.dumps(rows))
"""
