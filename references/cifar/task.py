"""Small-image classification: which data, which network, which schedule, and when it counts as learned."""
import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import optax

from input_pipelines import digits
from input_pipelines.source import Once, Resident, Shuffled
from references.cifar import serving
from references.cifar.model import GroupNet
from scoring.problem import Problem
from training.config import Config as BaseConfig
from training.task import Target, Task


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
  """A recipe for small images.

  Attributes:
    dataset: `digits`, the embedded one.
    widths: channels of each group of the network.
    num_epochs: length of the schedule.
    peak_learning_rate, warmup_fraction: Adam's learning rate rises linearly over that part of the schedule and then
      falls linearly to 0.
    weight_decay: decoupled (Loshchilov and Hutter, arXiv 1711.05101), on convolutions and the head only.
    label_smoothing: of the training loss.
    shift_pixels: images are shifted by up to so many pixels each way, at random.
    compute_dtype: `float32` or `bfloat16`; parameters, loss and reductions are float32 either way.
    eval_batch_size: how many images are evaluated at once; no metric depends on it.
    eval_every_epochs, stop: when to look, and whether the first hit ends the run (`first_hit`) or the schedule (`end`).
    target_accuracy: on the held-out images, 0..1.
  """
  dataset: str = 'digits'
  widths: tuple[int, ...] = (32, 64)
  num_epochs: int = 15
  peak_learning_rate: float = 0.01
  warmup_fraction: float = 0.2
  weight_decay: float = 0.05
  label_smoothing: float = 0.1
  shift_pixels: int = 1
  compute_dtype: str = 'float32'
  eval_batch_size: int = 384
  eval_every_epochs: int = 1
  target_accuracy: float = 0.98
  stop: str = 'first_hit'

  def __post_init__(self):
    super().__post_init__()
    self.check({'dataset': ('digits',), 'compute_dtype': ('float32', 'bfloat16')}, (
        ('num_epochs', 1, 1e6), ('eval_batch_size', 1, 1e6), ('eval_every_epochs', 1, 1e6), ('target_accuracy', 0, 1),
        ('warmup_fraction', 0, 1), ('label_smoothing', 0, 1), ('shift_pixels', 0, 7), ('weight_decay', 0, math.inf),
        ('peak_learning_rate', 0, math.inf)))
    if not 1 <= len(self.widths) <= 3 or min(self.widths) < 1:
      raise Problem(f'widths={self.widths}: one to three positive numbers, please: 8 x 8 pixels halve three times')

  def make_task(self, data_dir: str) -> Task:
    del data_dir  # digits are embedded
    return SmallImages(self)


class SmallImages(Task):
  """Classification of resident images by a network of convolution groups."""

  def __init__(self, config: Config):
    self.config = config
    self.benchmark = config.dataset
    self.model_name = f'GroupNet-{"-".join(map(str, config.widths))}'
    self.network = GroupNet(config.widths, 10, jnp.dtype(config.compute_dtype))
    order = Shuffled(digits.NUM_TRAIN, config.batch_size, config.seed)
    self.data = {'train': self._split('train', digits.NUM_TRAIN, order),
                 'eval': self._split('eval', digits.NUM_EVAL, Once(digits.NUM_EVAL, config.eval_batch_size))}
    steps_per_epoch = order.epoch_examples // config.batch_size
    self.num_steps = config.num_epochs * steps_per_epoch
    self.target = Target('accuracy', config.target_accuracy, digits.NUM_EVAL,
                         every_steps=config.eval_every_epochs * steps_per_epoch, stop=config.stop)
    self.hyperparameters = {
        'opt_name': 'adamw', 'opt_base_learning_rate': config.peak_learning_rate,
        'opt_learning_rate_warmup_steps': math.ceil(config.warmup_fraction * self.num_steps),
        'opt_learning_rate_training_steps': self.num_steps, 'opt_end_learning_rate': 0.0,
        'opt_adamw_beta_1': 0.9, 'opt_adamw_beta_2': 0.99, 'opt_adamw_epsilon': 1e-8,
        'opt_adamw_weight_decay': config.weight_decay}
    self.optimizer = adamw(self.hyperparameters)

  @staticmethod
  def _split(name: str, size: int, order) -> Resident:
    spec = {'image': jax.ShapeDtypeStruct((size, 8, 8, 1), jnp.uint8),
            'label': jax.ShapeDtypeStruct((size,), jnp.int32)}
    return Resident(spec, lambda: digits.load()[name], order, fingerprint=digits.SHA256)

  def init(self, key):
    return self.network.init(key, jnp.zeros((1, 8, 8, 1)), train=False)

  def prepare(self, batch, keys, shape):
    """Scales to 0..1 and shifts each image at random; digits are never flipped: a flipped one is another digit."""
    shift, reach = self.config.shift_pixels, 2 * self.config.shift_pixels + 1
    images = jnp.pad(scaled(batch['image']), ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    corner = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, reach))(keys.view)
    crop = jax.vmap(lambda image, c: jax.lax.dynamic_slice(image, (c[0], c[1], 0), (8, 8, 1)))
    return {**batch, 'image': crop(images, corner)}

  def loss(self, params, model_state, batch, key):
    logits, updates = self.network.apply({'params': params, **model_state},
                                         batch['image'], train=True, mutable=['batch_stats'])
    labels = optax.smooth_labels(jax.nn.one_hot(batch['label'], 10), self.config.label_smoothing)
    loss = optax.softmax_cross_entropy(logits, labels).mean()
    return loss, (updates, {'train_accuracy': correct(logits, batch)})

  def logits(self, variables, images, network=None):
    """uint8 [B, 8, 8, 1] -> float32 [B, 10], as evaluation sees them."""
    return (network or self.network).apply(variables, scaled(images), train=False)

  def serve(self, variables, *, fold):
    return serving.served(self, variables, epsilon=1e-5, fold=fold)

  def evaluate(self, variables, batch):
    logits = self.logits(variables, batch['image'])
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch['label'])
    return {'accuracy': correct(logits, batch), 'loss': (jnp.sum(loss * batch['mask']), batch['mask'].sum())}


def scaled(images):
  """uint8 0..16 -> float32 0..1."""
  return images.astype(jnp.float32) / digits.MAXIMUM


def correct(logits, batch):
  """(how many rows are right, how many count)."""
  right = (logits.argmax(-1) == batch['label']) & batch['mask']
  return right.sum().astype(jnp.float32), batch['mask'].sum().astype(jnp.float32)


def adamw(h) -> optax.GradientTransformation:
  """AdamW with linear warm-up and linear decay, built from what the log prints."""
  warmup, steps = h['opt_learning_rate_warmup_steps'], h['opt_learning_rate_training_steps']
  peak, end = h['opt_base_learning_rate'], h['opt_end_learning_rate']
  rate = optax.join_schedules([optax.linear_schedule(0.0, peak, warmup),
                               optax.linear_schedule(peak, end, steps - warmup)], [warmup])
  kernels = functools.partial(jax.tree.map, lambda x: x.ndim > 1)
  return optax.adamw(rate, b1=h['opt_adamw_beta_1'], b2=h['opt_adamw_beta_2'], eps=h['opt_adamw_epsilon'],
                     weight_decay=h['opt_adamw_weight_decay'], mask=kernels)
