"""Images in, the five likeliest classes out."""
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from serving.served import Served

TOP = 5  # element 0 is what MLPerf's accuracy-imagenet.py reads (--dtype int32), all five are DAWNBench's metric


def served(shape: tuple[int, ...], num_images: int, labels: Callable[[], Sequence[int]],
           read: Callable[[Sequence[int], np.ndarray], None], weights, logits: Callable,
           exact_metrics: Callable, *, preprocessing: str, folded: bool) -> Served:
  """A classifier of uint8 images.

  Args:
    shape: of an image. labels: () -> the label of each. read: as Served.read.
    logits: (weights, images [B, *shape]) -> float32 [B, classes].
    exact_metrics: (sums of each batch) -> (metrics, images counted); see training.evaluation.
  """
  def answer(weights, images):
    scores = logits(weights, images)
    best = jax.lax.top_k(scores, min(TOP, scores.shape[-1]))[1].astype(jnp.int32)
    return jnp.pad(best, ((0, 0), (0, TOP - best.shape[1])), constant_values=-1)

  def measure(answers):
    right = np.asarray(labels())
    def sums():
      for samples, best in answers:
        hit = best == right[np.asarray(samples)][:, None]
        yield {'accuracy': (hit[:, 0].sum(), len(hit)), 'top5_accuracy': (hit.any(1).sum(), len(hit))}
    return exact_metrics(sums())

  return Served(np.zeros(num_images, int), (0,), lambda bucket: (shape, np.uint8), read, weights, answer,
                np.arange(num_images), measure, preprocessing, folded)
