"""What inference needs to know of a reference: samples as rows of one array, weights, and one pure function."""
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Answers = Iterable[tuple[Sequence[int], np.ndarray]]  # (samples, their answers [n, ...]), each sample once


@dataclass(frozen=True)
class Served:
  """A trained model and the test set that it answers.

  A sample is one row of one array, and so is its answer: a query costs one copy to the device, one launch and one copy
  back.

  Attributes:
    lengths: int [N], of each sample in its own units (words, word pieces); 0 where all are of one shape.
    buckets: rising lengths that samples are padded to; (0,) where all are of one shape.
    row: bucket -> (dims, dtype) of a sample's row. Where there are several buckets, rows have one dimension, and one
      with zeros at its end is that of a longer bucket.
    read: (samples of one bucket, rows [n, *dims] of zeros) fills the rows: what decodes, crops and makes tokens, and
      what MLPerf's rules leave untimed (inference_rules.adoc, "Data Sets").
    weights: what `answer` computes with: few arrays, each in the type that it is computed in.
    answer: (weights, rows [B, *dims]) -> answers [B, ...], int32 or float32; traced for each bucket and batch size.
    items: int [N], which item of the test set each sample belongs to: a question may take several.
    measure: Answers to all samples -> ({metric: value}, items counted), by training's own evaluation.
    preprocessing: what `read` does, for records of latency.
    folded: whether normalisations, biases and activations are within what comes before them.
  """
  lengths: np.ndarray
  buckets: tuple[int, ...]
  row: Callable[[int], tuple[tuple[int, ...], Any]]
  read: Callable[[Sequence[int], np.ndarray], None]
  weights: Any
  answer: Callable[[Any, Any], Any]
  items: np.ndarray
  measure: Callable[[Answers], tuple[dict[str, float], int]]
  preprocessing: str
  folded: bool = False

  @property
  def num_samples(self) -> int:
    return len(self.lengths)

  def bucket(self, samples) -> int:
    """The smallest bucket that holds all of the samples."""
    return self.buckets[int(np.searchsorted(self.buckets, self.lengths[samples].max()))]
