"""The CIFAR-10 recipes written again in torch, to compare numerics with.

What each does was read in these, and written anew here:
  airbench94        https://github.com/KellerJordan/cifar10-airbench/blob/master/legacy/airbench94.py
  airbench94_muon   https://github.com/KellerJordan/cifar10-airbench/blob/master/airbench94_muon.py
  fastest           https://github.com/hiverge/cifar10-speedrun/blob/main/cifar10_speedrun.py

Hyperparameters are in those files' units: the loss is summed over the batch. Images are NCHW, filters OIHW. The sources
compute in float16 on GPUs; here everything is in the dtype of the network's weights, and Newton-Schulz in any.
"""
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

MEAN = torch.tensor((0.4914, 0.4822, 0.4465))
STD = torch.tensor((0.2470, 0.2435, 0.2616))


@dataclass(frozen=True)
class Decoupled:
  """airbench94: rates and decay for 1,024 examples, before they are divided by what the momentum adds."""
  lr: float = 11.5
  weight_decay: float = 0.0153
  bias_scaler: float = 64.0


@dataclass(frozen=True)
class Orthogonal:
  """The Muon recipes. norm_freq: (a, b) normalises the filters every a + int(b * progress) steps.

  magnitudes: the norm that a gradient is scaled to at the first and the last step before it is scaled to 1, or none.
  """
  lr: float = 0.24
  momentum: float = 0.6
  coefficients: tuple[float, ...] = (3.4445, -4.7750, 2.0315)
  bias_lr: float = 0.053
  head_lr: float = 0.67
  decay_per_example: float = 2e-6
  decays_filters: bool = False
  norm_freq: tuple[int, int] = (1, 0)
  magnitudes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Recipe:
  """A recipe; `keep`: the share that running statistics keep of themselves; `lookahead`: its period, 0 for none."""
  rule: Decoupled | Orthogonal
  batch_size: int
  epochs: float
  momentum: float = 0.85
  whiten_bias_epochs: float = 3.0
  whiten_images: int = 5000
  widths: tuple[int, ...] = (64, 256, 256)
  activation: str = 'gelu'
  keep: float = 0.6
  label_smoothing: float = 0.2
  lookahead: int = 0
  translate: int = 2
  brightness: float = 0.0
  contrast: float = 0.0
  views: str = 'mirror_translate'

  @property
  def muon(self) -> bool:
    return isinstance(self.rule, Orthogonal)

  def steps(self, epochs: float, num_examples: int = 50_000) -> int:
    return ceil(epochs * (num_examples // self.batch_size))

  def peaks(self) -> dict[str, tuple[float, float]]:
    """Group -> (learning rate, weight decay as torch's SGD and the speedrun's Muon take it), before any schedule."""
    if self.muon:
      rule, decay = self.rule, self.rule.decay_per_example * self.batch_size
      return {'whitening': (rule.bias_lr, decay / rule.bias_lr), 'norm': (rule.bias_lr, decay / rule.bias_lr),
              'head': (rule.head_lr, decay / rule.head_lr),
              'filters': (rule.lr, decay if rule.decays_filters else 0.0)}
    scale = 1024 * (1 + 1 / (1 - self.momentum))
    lr, decay = self.rule.lr / scale, self.rule.weight_decay * self.batch_size / scale
    norm_lr = lr * self.rule.bias_scaler
    return {'whitening': (lr, decay / lr), 'norm': (norm_lr, decay / norm_lr), 'head': (lr, decay / lr),
            'filters': (lr, decay / lr)}

  def rates(self, step: int, num_examples: int = 50_000) -> dict[str, float]:
    """Group -> learning rate of the update after `step` updates; the whitening bias's is 0 once it is frozen."""
    total, whiten = self.steps(self.epochs, num_examples), self.steps(self.whiten_bias_epochs, num_examples)
    if self.muon:
      factor, whiten_factor = 1 - step / total, 1 - step / whiten
    else:
      rise = int(total * 0.23)
      factor = (0.2 + 0.8 * step / rise if step < rise else 1 - 0.93 * (step - rise) / (total - rise))
      whiten_factor = factor
    factors = {'whitening': whiten_factor if step < whiten else 0.0}
    return {name: lr * factors.get(name, factor) for name, (lr, _) in self.peaks().items()}


AIRBENCH94 = Recipe(Decoupled(), batch_size=1024, epochs=9.9, lookahead=5)
AIRBENCH94_MUON = Recipe(Orthogonal(), batch_size=2000, epochs=8)
FASTEST = Recipe(Orthogonal(lr=0.205, momentum=0.655, coefficients=(3.4576, -4.7391, 2.0843), bias_lr=0.0573,
                            head_lr=0.5415, decay_per_example=1.0418e-6, decays_filters=True, norm_freq=(2, 15),
                            magnitudes=(0.5012, 0.0786)),
                 batch_size=1536, epochs=7.59, momentum=0.825, whiten_bias_epochs=0.19, whiten_images=960,
                 activation='silu', keep=0.5566, label_smoothing=0.09, brightness=0.1399, contrast=0.1308,
                 views='uncertain')


class Net(nn.Module):
  """images [B, 3, 32, 32], normalised -> logits [B, 10]."""

  def __init__(self, recipe: Recipe):
    super().__init__()
    ins = (24, *(w for w in recipe.widths for _ in range(2)))
    self.recipe = recipe
    self.whiten = nn.Conv2d(3, 24, 2)
    self.whiten.weight.requires_grad_(False)
    self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding='same', bias=False) for i, o in zip(ins, ins[1:]))
    self.norms = nn.ModuleList(nn.BatchNorm2d(o, eps=1e-12, momentum=1 - recipe.keep) for o in ins[1:])
    for norm in self.norms:
      norm.weight.requires_grad_(False)
    self.head = nn.Linear(recipe.widths[-1], 10, bias=False)
    with torch.no_grad():
      for conv in self.convs:
        nn.init.dirac_(conv.weight[:conv.in_channels])
      if recipe.muon:
        self.head.weight.div_(self.head.weight.std())
      else:
        self.whiten.bias.zero_()

  def forward(self, x):
    activation = F.silu if self.recipe.activation == 'silu' else F.gelu
    x = F.gelu(self.whiten(x))
    for number, (conv, norm) in enumerate(zip(self.convs, self.norms)):
      x = conv(x)
      x = activation(norm(x if number % 2 else F.max_pool2d(x, 2)))
    x = self.head(F.max_pool2d(x, 3).flatten(1))
    return x / (self.head.in_features if self.recipe.muon else 9)

  @torch.no_grad()
  def whiten_from(self, images, eps: float = 5e-4):
    """Sets the whitening filters from normalised images [N, 3, 32, 32]."""
    patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + eps).sqrt()).T.reshape(12, 3, 2, 2)
    self.whiten.weight.copy_(torch.cat([filters, -filters]))


def orthogonalized(matrix, coefficients, dtype, magnitude: float | None = None):
  """Newton-Schulz; with a `magnitude`, the speedrun's two normalisations before it, else airbench's one."""
  a, b, c = coefficients
  x = matrix.to(dtype)
  if magnitude is None:
    x = x / (x.norm() + 1e-7)
  else:
    x = x * (magnitude / (x.norm() + 1e-5))
    x = x / (x.norm() + 1e-5)
  tall = x.shape[0] > x.shape[1]
  x = x.T if tall else x
  for _ in range(3):
    gram = x @ x.T
    x = a * x + (b * gram + c * (gram @ gram)) @ x
  return (x.T if tall else x).to(matrix.dtype)


class Muon:
  """Both recipes' Muon over filters [K, C, 3, 3]; `steps` is the whole schedule's."""

  def __init__(self, filters, rule: Orthogonal, steps: int, decay: float, dtype=torch.float32):
    self.filters, self.rule, self.steps, self.decay, self.dtype = list(filters), rule, steps, decay, dtype
    self.buffers = [torch.zeros_like(p) for p in self.filters]
    self.count, self.normalized = 0, 0

  @torch.no_grad()
  def step(self, lr: float):
    rule = self.rule
    self.count += 1
    progress = self.count / self.steps
    first, more = rule.norm_freq
    due = self.count - self.normalized >= first + int(more * progress)
    self.normalized = self.count if due else self.normalized
    magnitude = rule.magnitudes[0] * (1 - progress) + rule.magnitudes[1] * progress if rule.magnitudes else None
    for p, buffer in zip(self.filters, self.buffers):
      buffer.mul_(rule.momentum).add_(p.grad)
      ahead = p.grad + rule.momentum * buffer
      if due:
        p.mul_(len(p)**0.5 / p.norm())
      p.sub_(lr * orthogonalized(ahead.flatten(1), rule.coefficients, self.dtype, magnitude).view_as(p))
      p.mul_(1 - lr * self.decay)


class Training:
  """Training of a network by its recipe; `newton_schulz`: its dtype; `autocast`: the forward pass's, or None."""

  def __init__(self, net: Net, num_examples: int = 50_000, newton_schulz=torch.float32, autocast=None):
    self.net, self.recipe, self.num_examples, self.autocast = net, net.recipe, num_examples, autocast
    recipe = net.recipe
    self.done, self.total = 0, recipe.steps(recipe.epochs, num_examples)
    self.whiten_steps = recipe.steps(recipe.whiten_bias_epochs, num_examples)
    peaks, filters = recipe.peaks(), [conv.weight for conv in net.convs]
    groups = {'whitening': [net.whiten.bias], 'norm': [norm.bias for norm in net.norms], 'head': [net.head.weight],
              **({} if recipe.muon else {'filters': filters})}
    self.muon = Muon(filters, recipe.rule, self.total, peaks['filters'][1], newton_schulz) if recipe.muon else None
    self.sgd = torch.optim.SGD([{'name': name, 'params': params, 'lr': peaks[name][0], 'weight_decay': peaks[name][1]}
                                for name, params in groups.items()], lr=1.0, momentum=recipe.momentum, nesterov=True)
    self.slow = {k: x.clone() for k, x in self._floats()}

  def _floats(self):
    return ((k, x) for k, x in self.net.state_dict().items() if x.dtype.is_floating_point)

  def step(self, images, labels) -> float:
    """One update; returns the loss divided by the batch."""
    self.net.train()
    self.net.zero_grad(set_to_none=True)
    with torch.autocast('cpu', self.autocast) if self.autocast else contextlib.nullcontext():
      logits = self.net(images)
    loss = F.cross_entropy(logits.to(self.net.head.weight.dtype), labels, reduction='sum',
                           label_smoothing=self.recipe.label_smoothing)
    loss.backward()
    self.update()
    return loss.item() / len(labels)

  def update(self):
    """One update by the gradients of the parameters."""
    rates = self.recipe.rates(self.done, self.num_examples)
    if self.done >= self.whiten_steps:
      self.net.whiten.bias.grad = None  # torch's optimizers leave out what has none
    for group in self.sgd.param_groups:
      group['lr'] = rates[group['name']]
    self.sgd.step()
    if self.muon:
      self.muon.step(rates['filters'])
    self.done += 1
    if self.recipe.lookahead:
      if self.done % self.recipe.lookahead == 0:
        self.look_ahead(0.95**5 * (self.done / self.total)**3)
      if self.done == self.total:
        self.look_ahead(1.0)

  @torch.no_grad()
  def look_ahead(self, decay: float):
    """Pulls the slow copy of all of the network's state towards it, and sets it to that."""
    for name, fast in self._floats():
      self.slow[name].lerp_(fast, 1 - decay)
      fast.copy_(self.slow[name])


def normalized(images) -> torch.Tensor:
  """uint8 [N, 32, 32, 3] of NumPy -> float32 [N, 3, 32, 32]."""
  return ((torch.tensor(images).float() / 255 - MEAN) / STD).permute(0, 3, 1, 2)


class Loader:
  """Shuffled and augmented batches: (images, labels) over epochs without end. images: uint8 [N, 32, 32, 3]."""

  def __init__(self, recipe: Recipe, images, labels, seed: int):
    self.recipe, self.images, self.labels = recipe, images, torch.tensor(labels).long()
    self.random = torch.Generator().manual_seed(seed)

  def __iter__(self) -> Iterator:
    size, number, epoch = self.recipe.batch_size, len(self.images), 0
    turned = torch.rand(number, generator=self.random) < 0.5
    while True:
      order = torch.randperm(number, generator=self.random)
      for start in range(0, number // size * size, size):
        rows = order[start:start + size]
        images = self.moved(normalized(self.images[rows.numpy()]))
        flip = turned[rows] ^ (epoch % 2 == 1)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
        yield self.jittered(images), self.labels[rows]
      epoch += 1

  def moved(self, images):
    pad, size = self.recipe.translate, images.shape[-1]
    wide, out = F.pad(images, (pad,) * 4, 'reflect'), torch.empty_like(images)
    down, right = torch.randint(0, 2 * pad + 1, (2, len(images)), generator=self.random)
    for i in range(2 * pad + 1):
      for j in range(2 * pad + 1):
        rows = (down == i) & (right == j)
        out[rows] = wide[rows, :, i:i + size, j:j + size]
    return out

  def jittered(self, images):
    if not (self.recipe.brightness or self.recipe.contrast):
      return images
    draw = 2 * torch.rand((2, len(images), 1, 1, 1), generator=self.random) - 1
    return (images + self.recipe.brightness * draw[0]) * (1 + self.recipe.contrast * draw[1])


@torch.no_grad()
def infer(net: Net, images, views: str, autocast=None):
  """Logits of normalised images [N, 3, 32, 32] by `none`, `mirror`, `mirror_translate` or `uncertain`."""
  net.eval()

  def logits(x):
    with torch.autocast('cpu', autocast) if autocast else contextlib.nullcontext():
      return torch.cat([net(part) for part in x.split(500)]).to(net.head.weight.dtype)

  def mirror(x):
    return (logits(x) + logits(x.flip(-1))) / 2

  def corners(x):
    wide = F.pad(x, (1, 1, 1, 1), 'reflect')
    return wide[:, :, :-2, :-2], wide[:, :, 2:, 2:]

  if views in ('none', 'uncertain'):
    first = logits(images)
    if views == 'uncertain':
      rows = first.softmax(1).amax(1).topk(len(images) // 4, largest=False).indices
      first[rows] = torch.stack([mirror(x) for x in (images[rows], *corners(images[rows]))]).mean(0)
    return first
  if views == 'mirror':
    return mirror(images)
  return mirror(images) / 2 + sum(mirror(x) for x in corners(images)) / 4


# Between this network and the reference's variables, whose filters are [H, W, in, out] and head is [in, 10].

def take(net: Net, variables):
  """Sets all of the network's weights and statistics to the reference's."""
  params, stats = variables['params'], variables['batch_stats']
  with torch.no_grad():
    put = lambda to, value, order=None: to.copy_(torch.tensor(np.array(value)).permute(order) if order else
                                                 torch.tensor(np.array(value)))
    put(net.whiten.weight, variables['whitening']['Whitening_0']['filters'], (3, 2, 0, 1))
    put(net.whiten.bias, params['Whitening_0']['bias'])
    put(net.head.weight, params['head'], (1, 0))
    for n, (conv, norm) in enumerate(zip(net.convs, net.norms)):
      put(conv.weight, params[f'Conv_{n}']['kernel'], (3, 2, 0, 1))
      put(norm.bias, params[f'BatchNorm_{n}']['bias'])
      put(norm.running_mean, stats[f'BatchNorm_{n}']['mean'])
      put(norm.running_var, stats[f'BatchNorm_{n}']['var'])
  return net


def give(state: dict) -> dict[str, np.ndarray]:
  """A state dict of the network's under the reference's names and in its layout."""
  x = {name: value.detach().double().numpy().copy() for name, value in state.items() if value.dtype.is_floating_point}
  out = {'params/Whitening_0/bias': x['whiten.bias'], 'params/head': x['head.weight'].T}
  for n in range(6):
    out[f'params/Conv_{n}/kernel'] = x[f'convs.{n}.weight'].transpose(2, 3, 1, 0)
    out[f'params/BatchNorm_{n}/bias'] = x[f'norms.{n}.bias']
    out[f'batch_stats/BatchNorm_{n}/mean'] = x[f'norms.{n}.running_mean']
    out[f'batch_stats/BatchNorm_{n}/var'] = x[f'norms.{n}.running_var']
  return out
