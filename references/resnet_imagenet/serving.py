"""How a ResNet answers photographs: folded, and with the five likeliest classes."""
import jax.numpy as jnp

from references.resnet_imagenet.model import NORM_EPSILON
from serving import classifier, folding
from serving.served import Served
from training.evaluation import exact_metrics
from training.task import Task


def convolution_of(norm: str) -> str:
  """The convolution before a normalisation: `norm1` follows `conv1`, `norm_skip` `conv_skip`, and `norm` the stem."""
  return 'stem' if norm == 'norm' else norm.replace('norm', 'conv')


def served(task: Task, variables, *, fold: bool) -> Served:
  """The evaluation photographs of a task, read, decoded and cropped as its evaluation does."""
  config, fill, network = task.config, task.eval_fill(), task.network.clone(folded=fold)
  variables, labels, dtype = dict(variables), {}, jnp.dtype(config.compute_dtype)
  keep = lambda path: 'head' in path  # applied in float32
  if fold:
    folded = folding.fold(variables['params'], variables.pop('batch_stats'), convolution_of, NORM_EPSILON)
    variables['params'] = folding.turned(folded, keep)
  variables['params'] = folding.cast(variables['params'], dtype, keep)

  def read(samples, rows):
    labels.update(zip(map(int, samples), fill(samples, [0] * len(samples), rows)))

  def label_of():
    return [labels[n] for n in range(config.num_eval_examples)]

  return classifier.served(
      (config.eval_image_size, config.eval_image_size, 3), config.num_eval_examples, label_of, read, variables,
      lambda weights, images: task.logits(weights, images, network), lambda sums: exact_metrics(task, sums),
      preprocessing='read, decoded, resized and cropped', folded=fold)
