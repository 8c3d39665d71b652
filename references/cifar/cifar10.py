"""CIFAR-10: the recipes of airbench and its successors, and the textbook's, as one task."""
import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from input_pipelines import cifar10
from input_pipelines.source import Once, Resident, Shuffled
from references.cifar import images as ops
from references.cifar import optimizers, serving
from references.cifar.model import ACTIVATIONS, NORM_EPSILON, Airbench, ResNet18
from references.cifar.task import correct
from scoring.problem import Problem
from training.config import Config as BaseConfig
from training.task import Target, Task


class Shape(NamedTuple):
  """A training step's rows and columns of images, and whether it trains the whitening's bias, a tenth of its time."""
  image_size: int
  whitening: bool

  def __str__(self):
    return f'{self.image_size}{"" if self.whitening else ", whitening fixed"}'


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
  """A recipe for CIFAR-10. Learning rates are for the mean loss; where a source sums over the batch, its are B smaller.

  Attributes:
    network: `airbench` or `resnet18`.
    widths: of airbench, the channels of each block; see model.Airbench.
    norm_momentum: of airbench's batch statistics, the share that is kept at a step.
    activation: of airbench, `gelu` or `silu`.
    num_epochs: length of the schedule; a part of an epoch is rounded up to a whole step.
    optimizer: of the filters, `nesterov` or `muon`; all else is trained by Nesterov's momentum.
    learning_rate: of the filters.
    head_learning_rate: of the last layer.
    norm_learning_rate: of the normalisations' parameters.
    whitening_learning_rate, whitening_epochs: of the whitening layer's bias, which is trained in the first so many
      epochs only.
    warmup_fraction, initial_fraction, final_fraction: the rates rise from initial_fraction of themselves to all of it
      over the first part of the schedule, and fall linearly to final_fraction of it at the end.
    momentum: of Nesterov's.
    weight_decay: the share of a parameter that a step at the peak takes away, before momentum multiplies it.
    muon_momentum, muon_coefficients, muon_weight_decay, muon_normalize: see optimizers.muon; the filters are normalised
      every a + floor(b * progress) steps, where (a, b) is `muon_normalize` and progress is 0..1.
    lookahead_steps: every so many steps parameters and batch statistics are pulled to a slow average of theirs; 0: not.
    label_smoothing: of the training loss.
    shift_pixels: images are shifted by up to so many pixels each way.
    flip: `alternating`: each image is mirrored or not at random at first, and the other way around each next epoch;
      `random`: anew each epoch.
    brightness, contrast: how far they are changed at random, of normalised images.
    image_sizes, image_size_starts: training images are resized to each size from that part of the schedule on.
    whitening_examples: the first so many training images set the whitening filters.
    test_time_augmentation: a name in images.VIEWS.
    compute_dtype: `float32` or `bfloat16`; parameters, loss and reductions are float32 either way.
    eval_batch_size: how many images are evaluated at once; no metric depends on it.
    eval_every_epochs: when to look; 0: at the end of the schedule only.
    target_accuracy, stop: what counts as learned, 0..1, and whether that ends the run (`first_hit`) or the schedule
      does (`end`).
  """
  batch_size: int = 1024
  network: str = 'airbench'
  widths: tuple[int, ...] = (64, 256, 256)
  activation: str = 'gelu'
  norm_momentum: float = 0.6
  num_epochs: float = 10.0
  optimizer: str = 'nesterov'
  learning_rate: float = 1.5
  head_learning_rate: float = 1.5
  norm_learning_rate: float = 96.0
  whitening_learning_rate: float = 1.5
  whitening_epochs: float = 3.0
  warmup_fraction: float = 0.23
  initial_fraction: float = 0.2
  final_fraction: float = 0.07
  momentum: float = 0.85
  weight_decay: float = 0.002
  muon_momentum: float = 0.6
  muon_coefficients: tuple[float, ...] = (3.4445, -4.7750, 2.0315)
  muon_weight_decay: float = 0.0
  muon_normalize: tuple[int, ...] = (1, 0)
  lookahead_steps: int = 0
  label_smoothing: float = 0.2
  shift_pixels: int = 2
  flip: str = 'alternating'
  brightness: float = 0.0
  contrast: float = 0.0
  image_sizes: tuple[int, ...] = (32,)
  image_size_starts: tuple[float, ...] = (0.0,)
  whitening_examples: int = 5000
  test_time_augmentation: str = 'none'
  compute_dtype: str = 'bfloat16'
  eval_batch_size: int = 2000
  eval_every_epochs: float = 0.0
  target_accuracy: float = 0.94
  stop: str = 'first_hit'

  def __post_init__(self):
    super().__post_init__()
    self.check({
        'network': ('airbench', 'resnet18'), 'optimizer': ('nesterov', 'muon'), 'activation': ACTIVATIONS,
        'flip': ('alternating', 'random'), 'test_time_augmentation': ops.VIEWS,
        'compute_dtype': ('float32', 'bfloat16')}, (
        ('num_epochs', 1e-3, 1e6), ('learning_rate', 0, math.inf), ('head_learning_rate', 0, math.inf),
        ('norm_learning_rate', 0, math.inf), ('whitening_learning_rate', 0, math.inf), ('whitening_epochs', 0, 1e6),
        ('warmup_fraction', 0, 0.99), ('initial_fraction', 0, 1), ('final_fraction', 0, 1), ('momentum', 0, 1),
        ('weight_decay', 0, 1), ('muon_momentum', 0, 1), ('muon_weight_decay', 0, 1), ('norm_momentum', 0, 1),
        ('lookahead_steps', 0, 1e9), ('label_smoothing', 0, 1), ('shift_pixels', 0, 31), ('brightness', 0, 10),
        ('contrast', 0, 1), ('whitening_examples', 1, cifar10.NUM_TRAIN), ('eval_batch_size', 1, cifar10.NUM_EVAL),
        ('eval_every_epochs', 0, 1e6), ('target_accuracy', 0, 1)))
    if len(self.widths) != 3 or min(self.widths) < 1:
      raise Problem(f'widths={self.widths}: three positive numbers, please: one for each group')
    if len(self.muon_coefficients) != 3 or len(self.muon_normalize) != 2 or self.muon_normalize[0] < 1:
      raise Problem(f'muon_coefficients={self.muon_coefficients}, muon_normalize={self.muon_normalize}: three numbers '
                    'and two, please, the first of the two at least 1')
    starts = self.image_size_starts
    if (len(starts) != len(self.image_sizes) or starts[:1] != (0.0,) or list(starts) != sorted(set(starts))
        or not starts[-1] < 1 or not all(16 <= size <= 32 for size in self.image_sizes)):
      raise Problem(f'image_sizes={self.image_sizes}, image_size_starts={starts}: as many starts as sizes, rising from '
                    '0.0 and below 1, and sizes from 16 to 32')

  def make_task(self, data_dir: str) -> Task:
    """The task on the data prepared in `data_dir`; '' makes one that can be looked at and compiled, but not trained."""
    if data_dir:
      cifar10.check_present(data_dir)
    return Cifar10(self, data_dir)


class Cifar10(Task):
  """Classification of CIFAR-10, resident on the device."""
  benchmark = 'cifar10'

  def __init__(self, config: Config, data_dir: str):
    self.config, self.data_dir = config, data_dir
    self._load = functools.cache(lambda: cifar10.load(data_dir))  # both splits are of one file
    dtype = jnp.dtype(config.compute_dtype)
    if config.network == 'airbench':
      self.network = Airbench(config.widths, config.activation, config.norm_momentum,
                              unit_head=config.optimizer == 'muon', dtype=dtype)
      self.model_name = f'airbench-{"-".join(map(str, config.widths))}'
      self.init_from_data = self._whiten
    else:
      self.network, self.model_name = ResNet18(dtype), 'ResNet-18'
    order = Shuffled(cifar10.NUM_TRAIN, config.batch_size, config.seed)
    self.steps_per_epoch = order.epoch_examples // config.batch_size
    self.num_steps = self.steps(config.num_epochs)
    self.size_starts = [math.ceil(round(start * self.num_steps, 6)) for start in config.image_size_starts]
    self.data = {'train': self._split('train', cifar10.NUM_TRAIN, order),
                 'eval': self._split('eval', cifar10.NUM_EVAL, Once(cifar10.NUM_EVAL, config.eval_batch_size))}
    self.target = Target('accuracy', config.target_accuracy, cifar10.NUM_EVAL, stop=config.stop,
                         every_steps=self.steps(config.eval_every_epochs) or self.num_steps)
    views, sizes = config.test_time_augmentation, config.image_sizes
    self.tricks = {**({'test_time_augmentation': views} if views != 'none' else {}),
                   **({'progressive_resizing': ' to '.join(map(str, sizes))} if sizes != (32,) else {})}
    self.optimizer = self._optimizer()
    self.hyperparameters = {
        'opt_name': config.optimizer, 'opt_base_learning_rate': config.learning_rate,
        'opt_learning_rate_warmup_steps': int(self.num_steps * config.warmup_fraction),
        'opt_learning_rate_training_steps': self.num_steps,
        'opt_end_learning_rate': config.learning_rate * config.final_fraction,
        'opt_momentum': config.muon_momentum if config.optimizer == 'muon' else config.momentum,
        'opt_weight_decay': config.muon_weight_decay if config.optimizer == 'muon' else config.weight_decay}

  def steps(self, epochs: float) -> int:
    """Updates in so many epochs; a part of a step is a whole one."""
    return math.ceil(round(epochs * self.steps_per_epoch, 6))

  def _split(self, name: str, size: int, order) -> Resident:
    spec = {'image': jax.ShapeDtypeStruct((size, *cifar10.IMAGE), jnp.uint8),
            'label': jax.ShapeDtypeStruct((size,), jnp.int32)}
    return Resident(spec, lambda: self._load()[name], order,
                    shape_at=self._shape if name == 'train' else lambda step: None,
                    fingerprint=cifar10.fingerprint(self.data_dir))

  def _shape(self, step: int) -> Shape:
    """Of the training step that follows `step` updates."""
    size = next(s for s, first in zip(self.config.image_sizes[::-1], self.size_starts[::-1]) if step >= first)
    return Shape(size, self.config.network != 'airbench' or step < self.steps(self.config.whitening_epochs))

  def _optimizer(self) -> optax.GradientTransformation:
    config, steps = self.config, self.num_steps
    schedule = optimizers.rise_and_fall(steps, config.warmup_fraction, config.initial_fraction, config.final_fraction)
    whitening_steps = self.steps(config.whitening_epochs)
    # The Muon recipe lets the whitening bias's rate fall to 0 by itself, the other one cuts it off.
    fall = lambda step: jnp.maximum(1 - step / whitening_steps, 0) if whitening_steps else 0.0
    cut = lambda step: jnp.where(step < whitening_steps, schedule(step), 0)
    parts = {optimizers.NORM: (config.norm_learning_rate, schedule),
             optimizers.HEAD: (config.head_learning_rate, schedule),
             optimizers.WHITENING: (config.whitening_learning_rate, fall if config.optimizer == 'muon' else cut),
             optimizers.FILTERS: (config.learning_rate, schedule)}
    rate = lambda name: lambda step: parts[name][0] * parts[name][1](step)
    transforms = {name: optimizers.nesterov(rate(name), config.momentum, config.weight_decay / peak if peak else 0.0)
                  for name, (peak, _) in parts.items()}
    if config.optimizer == 'muon':
      first, more = config.muon_normalize
      transforms[optimizers.FILTERS] = optimizers.muon(
          rate(optimizers.FILTERS), config.muon_momentum, config.muon_coefficients, config.muon_weight_decay,
          lambda step: first + jnp.floor(more * step / steps).astype(jnp.int32))
    return optimizers.by_group(transforms)

  def init(self, key):
    variables = dict(self.network.init(key, jnp.zeros((1, *cifar10.IMAGE)), train=False))
    if self.config.lookahead_steps:
      variables['lookahead'] = {name: variables[name] for name in ('params', 'batch_stats')}
    return variables

  def _whiten(self, variables, sample):
    images = ops.normalized(sample['image'][:self.config.whitening_examples])
    filters = ops.whitening_filters(images)
    return {**variables, 'whitening': jax.tree.map(lambda _: filters, variables['whitening'])}

  def prepare(self, batch, keys, shape):
    """Shifts, mirrors, normalises, jitters and resizes, in that order."""
    config = self.config
    shift, flip, jitter = (jax.vmap(jax.random.fold_in, (0, None))(keys.view, n) for n in range(3))
    turned = ops.coin(keys.record) ^ (batch['epoch'] % 2 == 1) if config.flip == 'alternating' else ops.coin(flip)
    images = ops.normalized(ops.mirrored(ops.shifted(batch['image'], shift, config.shift_pixels), turned))
    if config.brightness or config.contrast:
      images = ops.jittered(images, jitter, config.brightness, config.contrast)
    return {**batch, 'image': ops.resized(images, shape.image_size), 'whitening': shape.whitening}

  def loss(self, params, model_state, batch, key):
    collections = {name: x for name, x in model_state.items() if name != 'lookahead'}
    if not batch.get('whitening', True):
      params = {name: jax.lax.stop_gradient(x) if name.startswith('Whitening') else x for name, x in params.items()}
    logits, updates = self.network.apply({'params': params, **collections}, batch['image'], train=True,
                                         mutable=['batch_stats'])
    labels = optax.smooth_labels(jax.nn.one_hot(batch['label'], 10), self.config.label_smoothing)
    loss = optax.softmax_cross_entropy(logits, labels).mean()
    return loss, ({**model_state, **updates}, {'train_accuracy': correct(logits, batch)})

  def after_update(self, state):
    if not self.config.lookahead_steps:
      return state
    fast = {'params': state.params, 'batch_stats': state.model_state['batch_stats']}
    slow, fast = optimizers.lookahead(state.model_state['lookahead'], fast, state.step, self.config.lookahead_steps,
                                      self.num_steps)
    model_state = {**state.model_state, 'batch_stats': fast['batch_stats'], 'lookahead': slow}
    return dataclasses.replace(state, params=fast['params'], model_state=model_state)

  def eval_variables(self, state):
    return {'params': state.params, **{k: x for k, x in state.model_state.items() if k != 'lookahead'}}

  def views(self, variables, images, network=None):
    """(weight, logits float32 [B, 10]) of each view that test-time augmentation takes of uint8 [B, 32, 32, 3]."""
    images = ops.normalized(images)
    return [(weight, (network or self.network).apply(variables, ops.view(images, *which), train=False))
            for which, weight in ops.VIEWS[self.config.test_time_augmentation]]

  def logits(self, variables, images, network=None):
    """Their weighted sum."""
    return sum(weight * logits for weight, logits in self.views(variables, images, network))

  def serve(self, variables, *, fold):
    if self.config.test_time_augmentation == 'uncertain':
      raise Problem("test_time_augmentation='uncertain' ranks the whole test set by certainty: one image alone has no "
                    'answer; serve a run of another recipe, such as no_tta.py')
    return serving.served(self, variables, epsilon=NORM_EPSILON if self.config.network == 'airbench' else 1e-5,
                          fold=fold)

  def evaluate(self, variables, batch):
    views = self.views(variables, batch['image'])
    logits = sum(weight * logits for weight, logits in views)
    if self.config.test_time_augmentation == 'uncertain':
      first = views[0][1]
      return {'certainty': jax.nn.softmax(first).max(-1), 'first': _judged(first, batch),
              'all': _judged(logits, batch), 'mask': batch['mask']}
    loss, mask = _judged(logits, batch)['loss'], batch['mask']
    return {'accuracy': correct(logits, batch), 'loss': (jnp.sum(loss * mask), mask.sum())}

  def finish(self, outputs):
    if self.config.test_time_augmentation != 'uncertain':
      return super().finish(outputs)
    whole = jax.tree.map(lambda *x: np.concatenate(x), *outputs)
    rows = np.flatnonzero(whole['mask'])
    rows = rows[np.argsort(whole['certainty'][rows], kind='stable')]
    quarter = len(rows) // 4
    return {metric: (sum(float(x.sum(dtype=np.float64)) for x in (whole['all'][name][rows[:quarter]],
                                                                  whole['first'][name][rows[quarter:]])), len(rows))
            for metric, name in (('accuracy', 'right'), ('loss', 'loss'))}


def _judged(logits, batch):
  return {'right': (logits.argmax(-1) == batch['label']).astype(jnp.float32),
          'loss': optax.softmax_cross_entropy_with_integer_labels(logits, batch['label'])}
