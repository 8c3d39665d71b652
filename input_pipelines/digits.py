"""Handwritten digits, 8 x 8, embedded in the repository: real data that needs no download.

1,797 images from the test set of UCI's "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998,
doi 10.24432/C50P49, CC BY 4.0), as scikit-learn bundles them. Of each class, every fifth image in the original order
is held out: 1,433 to train, 364 to evaluate.
"""
import hashlib
from pathlib import Path

import numpy as np

from scoring.problem import Problem

FILE = Path(__file__).with_name('digits.npz')
SHA256 = 'b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e'
NUM_TRAIN, NUM_EVAL = 1433, 364
MAXIMUM = 16  # pixels are 0..16: how many of a 4 x 4 block's points are on


def load() -> dict[str, dict[str, np.ndarray]]:
  """{'train', 'eval'} -> {'image': uint8 [N, 8, 8, 1], 'label': int32 [N]}.

  Raises:
    Problem: the file is not the one that this release was made with.
  """
  if hashlib.sha256(FILE.read_bytes()).hexdigest() != SHA256:
    raise Problem(f'{FILE}: not the file of this release; restore it with git checkout')
  with np.load(FILE) as arrays:
    images, labels = arrays['images'][..., None], arrays['labels'].astype(np.int32)
  occurrence = np.empty(len(labels), int)
  for digit in range(10):
    occurrence[labels == digit] = np.arange(np.sum(labels == digit))
  held_out = occurrence % 5 == 0
  return {split: {'image': images[rows], 'label': labels[rows]}
          for split, rows in (('train', ~held_out), ('eval', held_out))}
