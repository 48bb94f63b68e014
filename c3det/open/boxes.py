"""The old place of `c3det.boxes`."""

from c3det.boxes import giou as giou
from c3det.boxes import iou as iou
from c3det.boxes import non_maximum_suppression as non_maximum_suppression
from c3det.boxes import pairwise_iou as pairwise_iou
