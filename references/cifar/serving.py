"""How a network that was trained on small images answers: folded, and with the five likeliest classes."""
import functools

import jax.numpy as jnp

from serving import classifier, folding
from serving.served import Served
from training.evaluation import exact_metrics
from training.task import Task


def served(task: Task, variables, *, epsilon: float, fold: bool) -> Served:
  """The evaluation images of a task with resident data; `epsilon`: of its network's normalisations."""
  load, network = functools.cache(task.data['eval'].load), task.network.clone(folded=fold)
  variables, dtype = dict(variables), jnp.dtype(task.config.compute_dtype)
  keep = lambda path: 'head' in path or 'Dense' in path  # heads are applied in float32, or cast there
  if fold:
    conv_of = lambda norm: norm.replace('BatchNorm', 'Conv')
    folded = folding.fold(variables['params'], variables.pop('batch_stats'), conv_of, epsilon)
    variables['params'] = folding.turned(folded, keep)
  variables['params'] = folding.cast(variables['params'], dtype, keep)

  def read(samples, rows):
    rows[:] = load()['image'][samples]

  size, *shape = task.data['eval'].spec['image'].shape
  return classifier.served(
      tuple(shape), size, lambda: load()['label'], read, variables,
      lambda weights, images: task.logits(weights, images, network), lambda sums: exact_metrics(task, sums),
      preprocessing='taken from memory', folded=fold)
