"""Photographs in many classes: which data, which ResNet, which schedule, and when it counts as learned."""
import dataclasses
import math
import sys

import jax
import jax.numpy as jnp
import optax

from input_pipelines import imagenet, images, jpeg, synthetic
from input_pipelines.source import Once, Shuffled
from references.resnet_imagenet import serving
from references.resnet_imagenet.model import DEPTHS, ResNet
from scoring.problem import Problem
from training import optimizers
from training.config import Config as BaseConfig
from training.task import Target, Task

# Per channel, red first, 0..255: the MLPerf reference subtracts them and divides by nothing; most others divide too.
MEAN, STD = (123.68, 116.78, 103.94), (58.393, 57.12, 57.375)
SYNTHETIC = 'synthetic'


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
  """A recipe for ResNet on photographs.

  Attributes:
    dataset: name of a prepared data set, or `synthetic`.
    num_train_examples, num_eval_examples, num_classes: of the data set; other data than these are refused.
    depth: 14, 18, 34, 50 or 101.
    width: channels of its first stage.
    batch_norm_group_size: rows whose statistics a normalisation shares; 0: the whole global batch.
    space_to_depth: whether the stem computes in 2 x 2 blocks of pixels; changes speed, not the result.
    divide_by_std: whether channels are divided by their deviation, after their mean is subtracted.
    num_epochs, warmup_epochs: length of the schedule, and of the linear rise at its beginning.
    optimizer: `lars` or `sgd`, by the MLPerf reference's mathematics.
    learning_rate, end_learning_rate, momentum, weight_decay: of it; the rate falls as the square of what is left.
    shard_optimizer_state: whether each device keeps only its part of the optimizer's state.
    label_smoothing: of the training loss.
    image_sizes, image_size_starts: training crops have these sizes from these fractions of the schedule on.
    min_crop_area: of a random crop, as a fraction of the image.
    eval_resize, eval_image_size: short side that an image to evaluate is resized to, and the centre taken of it.
    eval_batch_size: how many are evaluated at once; no metric depends on it.
    eval_every_epochs, eval_offset_epochs: evaluate at offset + k * every epochs.
    target_metric, target_value: `accuracy` or `top5_accuracy`, 0..1.
    stop: whether the first hit ends the run (`first_hit`) or the schedule (`end`).
    compute_dtype: `float32` or `bfloat16`; parameters, statistics, loss and reductions are float32 either way.
  """
  dataset: str = 'imagenet2012'
  num_train_examples: int = 1_281_167
  num_eval_examples: int = 50_000
  num_classes: int = 1000
  depth: int = 50
  width: int = 64
  batch_norm_group_size: int = 0
  space_to_depth: bool = True
  divide_by_std: bool = False
  num_epochs: float = 37.0
  warmup_epochs: float = 2.0
  optimizer: str = 'lars'
  learning_rate: float = 7.4
  end_learning_rate: float = 1e-4
  momentum: float = 0.9
  weight_decay: float = 5e-5
  shard_optimizer_state: bool = False
  label_smoothing: float = 0.1
  image_sizes: tuple[int, ...] = (224,)
  image_size_starts: tuple[float, ...] = (0.0,)
  min_crop_area: float = 0.05
  eval_resize: int = 256
  eval_image_size: int = 224
  eval_batch_size: int = 1000
  eval_every_epochs: float = 4.0
  eval_offset_epochs: float = 0.0
  target_metric: str = 'accuracy'
  target_value: float = 0.759
  stop: str = 'first_hit'
  compute_dtype: str = 'bfloat16'

  def __post_init__(self):
    super().__post_init__()
    self.check({
        'depth': DEPTHS, 'optimizer': ('lars', 'sgd'), 'target_metric': ('accuracy', 'top5_accuracy'),
        'compute_dtype': ('float32', 'bfloat16')}, (
        ('num_train_examples', 1, 2**31 - 1), ('num_eval_examples', 1, 2**31 - 1), ('num_classes', 2, 1e6),
        ('width', 1, 1e4), ('batch_norm_group_size', 0, 1e9), ('num_epochs', 0.001, 1e6), ('warmup_epochs', 0, 1e6),
        ('learning_rate', 0, math.inf), ('end_learning_rate', 0, math.inf), ('momentum', 0, 1), ('weight_decay', 0, 1),
        ('label_smoothing', 0, 1), ('min_crop_area', 0, 1), ('eval_image_size', 32, self.eval_resize),
        ('eval_resize', 32, 4096), ('eval_batch_size', 1, 1e6), ('eval_every_epochs', 0, 1e6),
        ('eval_offset_epochs', 0, 1e6), ('target_value', 0, 1)))
    if self.warmup_epochs >= self.num_epochs:
      raise Problem(f'warmup_epochs={self.warmup_epochs}: must be less than num_epochs={self.num_epochs}')
    microbatch, group = self.batch_size // self.gradient_accumulation_steps, self.batch_norm_group_size
    if group and microbatch % group:
      raise Problem(f'batch_norm_group_size={group}: must divide batch_size / gradient_accumulation_steps = '
                    f'{microbatch}')
    starts = self.image_size_starts
    if (len(starts) != len(self.image_sizes) or starts[:1] != (0.0,) or list(starts) != sorted(set(starts))
        or not starts[-1] < 1 or not all(32 <= size <= 4096 and size % 2 == 0 for size in self.image_sizes)):
      raise Problem(f'image_sizes={self.image_sizes}, image_size_starts={starts}: as many starts as sizes, rising from '
                    '0.0 and below 1, and even sizes from 32 on')

  def make_task(self, data_dir: str) -> Task:
    """The task on the data prepared in `data_dir`; '' makes one that can be looked at and compiled, but not trained."""
    metadata = None
    if data_dir and self.dataset != SYNTHETIC:
      metadata = images.metadata(data_dir, self.dataset)
      if not jpeg.compiled():
        print('JPEGs are decoded by Pillow: the faster, compiled part is not there (input_pipelines/README.md)',
              file=sys.stderr)
      for name, found in (('num_train_examples', metadata.num_examples['train']),
                          ('num_eval_examples', metadata.num_examples['validation']),
                          ('num_classes', len(metadata.class_names))):
        if getattr(self, name) != found:
          raise Problem(f'{self.dataset} in {data_dir}: {name} is {found}, and the recipe is for '
                        f'{getattr(self, name)}; if that is the data you mean, say --config.{name}={found}')
    return Photographs(self, data_dir, metadata)


class Photographs(Task):
  """Classification of photographs that are decoded and cropped on the host."""

  def __init__(self, config: Config, data_dir: str, metadata):
    self.config, self.data_dir = config, data_dir
    self.fingerprint = metadata.fingerprint if metadata else None
    self.benchmark = 'imagenet' if config.dataset == 'imagenet2012' else config.dataset
    self.model_name = f'ResNet-{config.depth}' + (f' width {config.width}' if config.width != 64 else '')
    self.network = ResNet(config.depth, config.num_classes, config.width, config.batch_norm_group_size,
                          config.space_to_depth, jnp.dtype(config.compute_dtype))
    self.num_steps = self.steps(config.num_epochs)
    self.shard_optimizer_state = config.shard_optimizer_state
    self.data = {'train': self._train(), 'eval': self._eval()}
    self.target = Target(config.target_metric, config.target_value, config.num_eval_examples, stop=config.stop,
                         every_steps=self.steps(config.eval_every_epochs) or self.num_steps,
                         offset_steps=self.steps(config.eval_offset_epochs))
    sizes = config.image_sizes
    self.tricks = {'progressive_resizing': ' to '.join(map(str, sizes))} if len(sizes) > 1 else {}
    self.hyperparameters = hyperparameters(config, self.num_steps, self.steps(config.warmup_epochs))
    self.optimizer = optimizer(self.hyperparameters, self.steps(config.warmup_epochs))

  def steps(self, epochs: float) -> int:
    """Updates in so many epochs; a part of a step is a whole one."""
    return math.ceil(round(epochs * self.config.num_train_examples / self.config.batch_size, 6))

  def _train(self):
    config = self.config
    order = Shuffled(config.num_train_examples, config.batch_size, config.seed, remainder='carry')
    starts = [math.ceil(round(start * self.num_steps, 6)) for start in config.image_size_starts]
    size_at = lambda step: next(s for s, first in zip(config.image_sizes[::-1], starts[::-1]) if step >= first)
    fill = (synthetic.patterns(config.seed, config.num_classes, 0) if config.dataset == SYNTHETIC else
            imagenet.random_crops(self._records('train'), config.seed, config.min_crop_area))
    return imagenet.split(fill, order, size_at, self.fingerprint)

  def _eval(self):
    config = self.config
    order = Once(config.num_eval_examples, config.eval_batch_size)
    return imagenet.split(self.eval_fill(), order, lambda step: config.eval_image_size, self.fingerprint)

  def eval_fill(self) -> imagenet.Fill:
    """What makes the images of the evaluation."""
    config = self.config
    return (synthetic.patterns(config.seed, config.num_classes, 1) if config.dataset == SYNTHETIC else
            imagenet.centre_crops(self._records('validation'), config.eval_resize))

  def _records(self, name: str):
    return images.Records(self.data_dir, self.config.dataset, name) if self.data_dir else None

  def init(self, key):
    return self.network.init(key, jnp.zeros((1, 32, 32, 3)), train=False)

  def normalized(self, images):
    """uint8 -> float32, channel means subtracted, and divided by deviations where the recipe does."""
    return (images.astype(jnp.float32) - jnp.array(MEAN)) / (jnp.array(STD) if self.config.divide_by_std else 1)

  def prepare(self, batch, keys, shape):
    """Mirrors every other image, at random, and normalises; the host has cropped."""
    del shape
    mirrored = jax.vmap(lambda key: jax.random.bernoulli(key))(keys.view)[:, None, None, None]
    return {**batch, 'image': self.normalized(jnp.where(mirrored, batch['image'][:, :, ::-1], batch['image']))}

  def loss(self, params, model_state, batch, key):
    logits, updates = self.network.apply({'params': params, **model_state}, batch['image'], train=True,
                                         mutable=['batch_stats'])
    labels = optax.smooth_labels(jax.nn.one_hot(batch['label'], logits.shape[-1]), self.config.label_smoothing)
    loss = optax.softmax_cross_entropy(logits, labels).mean()
    right = (logits.argmax(-1) == batch['label']).astype(jnp.float32)
    return loss, (updates, {'train_accuracy': (right.sum(), jnp.float32(len(right)))})

  def logits(self, variables, images, network=None):
    """uint8 [B, H, W, 3] -> float32 [B, num_classes], as evaluation sees them."""
    return (network or self.network).apply(variables, self.normalized(images), train=False)

  def serve(self, variables, *, fold):
    return serving.served(self, variables, fold=fold)

  def evaluate(self, variables, batch):
    logits = self.logits(variables, batch['image'])
    best = jax.lax.top_k(logits, min(5, logits.shape[-1]))[1] == batch['label'][:, None]
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch['label'])
    count = batch['mask'].sum()
    return {name: (jnp.sum(x * batch['mask'], dtype=jnp.float32), count)
            for name, x in (('accuracy', best[:, 0]), ('top5_accuracy', best.any(-1)), ('loss', loss))}


def hyperparameters(config: Config, num_steps: int, warmup_steps: int) -> dict:
  """What the log prints and the optimizer is built from, under the keys of MLPerf's ruleset 4.0.0."""
  name = config.optimizer
  prefix, warmup = ('lars_opt', 'lars_opt_learning_rate_warmup_epochs') if name == 'lars' else (
      'sgd_opt', 'opt_learning_rate_warmup_epochs')
  return {
      'opt_name': name, f'{prefix}_base_learning_rate': config.learning_rate,
      f'{prefix}_end_learning_rate': config.end_learning_rate, f'{prefix}_learning_rate_decay_poly_power': 2,
      f'{prefix}_learning_rate_decay_steps': num_steps - warmup_steps + 1, warmup: config.warmup_epochs,
      f'{prefix}_momentum': config.momentum, f'{prefix}_weight_decay': config.weight_decay,
      'model_bn_span': config.batch_norm_group_size or config.batch_size // config.gradient_accumulation_steps,
      **({'lars_epsilon': 0.0} if name == 'lars' else {})}


def optimizer(h: dict, warmup_steps: int) -> optax.GradientTransformation:
  """The optimizer of `hyperparameters`; LARS leaves normalisation and biases alone, SGD's decay only the former."""
  name = h['opt_name']
  value = lambda key: h[f'{name}_opt_{key}']
  rate = optimizers.polynomial(value('base_learning_rate'), warmup_steps, value('learning_rate_decay_steps'),
                               value('end_learning_rate'), value('learning_rate_decay_poly_power'))
  if name == 'lars':
    return optimizers.lars(rate, momentum=value('momentum'), weight_decay=value('weight_decay'),
                           epsilon=h['lars_epsilon'], mask=optimizers.mask_by_path(lambda path: 'kernel' in path))
  return optimizers.sgd(rate, momentum=value('momentum'), weight_decay=value('weight_decay'),
                        mask=optimizers.mask_by_path(lambda path: 'norm' not in path))
