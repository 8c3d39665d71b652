"""LARS, SGD and the schedule against the MLPerf reference's formulas, written again in NumPy float64."""
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training.test_core import resume
from tests.training.toys import FEATURES, Line, StoppedAfter, ToyConfig, begin, train
from tests.training.toys import assert_close as assert_near
from training import checkpoint, loop, optimizers

EVERYTHING = optimizers.mask_by_path(lambda path: True)


def reference_rate(step, peak, warmup_steps, train_steps, end, power=2.0):
  """lars_util.PolynomialDecayWithWarmup over Keras's PolynomialDecay."""
  if step <= warmup_steps and warmup_steps:
    return peak * step / warmup_steps
  decay_steps = train_steps - warmup_steps + 1
  done = min(step - warmup_steps, decay_steps)
  return (peak - end) * (1 - done / decay_steps)**power + end


@pytest.mark.parametrize('peak, warmup, total', [(7.4, 1570, 29045), (17.0, 780, 6864), (0.1, 0, 50)])
def test_the_rate_at_named_steps(peak, warmup, total):
  rate = jax.jit(optimizers.polynomial(peak, warmup, total - warmup + 1, 1e-4))
  for step in (0, 1, 10, warmup - 1, warmup, warmup + 1, total // 2, total - 1, total, total + 1, total + 100):
    if step >= 0:
      assert float(rate(step)) == pytest.approx(reference_rate(step, peak, warmup, total, 1e-4), rel=1e-6, abs=1e-6)


def tree(seed, scale=1.0):
  rng = np.random.default_rng(seed)
  return {'conv': {'kernel': (scale * rng.standard_normal((3, 3, 4, 5))).astype(np.float32)},
          'norm': {'scale': (scale * rng.standard_normal(5)).astype(np.float32),
                   'bias': (scale * rng.standard_normal(5)).astype(np.float32)},
          'head': {'kernel': (scale * rng.standard_normal((5, 7))).astype(np.float32),
                   'bias': (scale * rng.standard_normal(7)).astype(np.float32)}}


def walk(optimizer, params, steps):
  state = optimizer.init(params)
  update = jax.jit(optimizer.update)
  for step in range(steps):
    updates, state = update(tree(step + 1, 10.0**(step % 3 - 2)), state, params)
    params = optax.apply_updates(params, updates)
  return params


def reference_walk(params, steps, rate, momentum, change):
  """mom = mom momentum - rate' g'; var += mom, as _resource_apply_dense; `change` gives (rate', g')."""
  params = {name: x.astype(np.float64) for name, x in flat(params).items()}
  moments = {name: np.zeros_like(x) for name, x in params.items()}
  for step in range(steps):
    for name, g in flat(tree(step + 1, 10.0**(step % 3 - 2))).items():
      factor, g = change(name, g.astype(np.float64), params[name])
      moments[name] = momentum * moments[name] - rate(step) * factor * g
      params[name] = params[name] + moments[name]
  return params


def flat(nested):
  return {f'{a}/{b}': np.asarray(x) for a, leaves in nested.items() for b, x in leaves.items()}


def assert_close(ours, theirs):
  for name, value in flat(ours).items():
    np.testing.assert_allclose(value, theirs[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('weight_decay, epsilon', [(5e-5, 0.0), (0.3, 0.0), (2e-4, 1e-3)])
def test_lars_follows_the_reference(weight_decay, epsilon):
  schedule = optimizers.polynomial(0.9, 4, 20, 1e-4)
  lars = optimizers.lars(schedule, momentum=0.9, weight_decay=weight_decay, epsilon=epsilon,
                         mask=optimizers.mask_by_path(lambda path: 'kernel' in path))

  def change(name, g, w):
    if 'norm' in name or 'bias' in name:
      return 1.0, g
    w_norm, g_norm = np.linalg.norm(w), np.linalg.norm(g)
    return 0.001 * w_norm / (g_norm + weight_decay * w_norm + epsilon), g + weight_decay * w

  rate = lambda step: reference_rate(step, 0.9, 4, 23, 1e-4)
  assert_close(walk(lars, tree(0), 24), reference_walk(tree(0), 24, rate, 0.9, change))


def test_sgd_follows_the_reference():
  sgd = optimizers.sgd(optimizers.polynomial(0.1, 4, 20, 1e-4), momentum=0.9, weight_decay=2.5e-3,
                       mask=optimizers.mask_by_path(lambda path: 'norm' not in path))
  change = lambda name, g, w: (1.0, g if 'norm' in name else g + 2.5e-3 * 2 * w)  # single_l2_loss_op
  rate = lambda step: reference_rate(step, 0.1, 4, 23, 1e-4)
  assert_close(walk(sgd, tree(0), 24), reference_walk(tree(0), 24, rate, 0.9, change))


@pytest.mark.parametrize('w, g', [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_lars_trusts_the_rate_where_a_norm_is_nothing(w, g):
  lars = optimizers.lars(lambda step: 0.5, momentum=0.0, weight_decay=0.25, mask=EVERYTHING)
  params, grads = ({'kernel': np.full(4, x, np.float32)} for x in (w, g))
  updates, _ = lars.update(grads, lars.init(params), params)
  np.testing.assert_allclose(updates['kernel'], -0.5 * (g + 0.25 * w) * np.ones(4))


def test_optax_lars_is_another_formula():
  """Why ours exists: where |g| is about weight_decay |w|, optax's ratio is off by far more than rounding."""
  params = {'kernel': np.full(4, 2.0, np.float32)}
  grads = {'kernel': np.full(4, -0.01, np.float32)}
  ours = optimizers.lars(lambda step: 1.0, momentum=0.0, weight_decay=0.01, mask=EVERYTHING)
  theirs = optax.lars(1.0, weight_decay=0.01, trust_coefficient=0.001, momentum=0.0)
  a, b = (o.update(grads, o.init(params), params)[0]['kernel'][0] for o in (ours, theirs))
  assert abs(a / b - 1) > 0.2


class Spread(Line):
  """Line with matrices, LARS, and an optimizer state that may live in parts."""

  def __init__(self, config, shard):
    super().__init__(config)
    self.shard_optimizer_state = shard
    self.optimizer = optimizers.lars(lambda step: 50.0, momentum=0.9, weight_decay=1e-4,
                                     mask=optimizers.mask_by_path(lambda path: path != 'b'))

  def init(self, key):
    return {'params': {'w': 0.3 * jax.random.normal(key, (FEATURES, 16)), 'b': jnp.zeros(())}}

  def logits(self, variables, batch):
    return jnp.tanh(batch['x'] @ variables['params']['w']).sum(-1) + variables['params']['b']


def test_an_optimizer_state_in_parts_trains_to_the_same():
  config = ToyConfig()
  whole, _ = train(Spread(config, False), config, devices=8)
  parts, _ = train(Spread(config, True), config, devices=8)
  assert_near(whole, parts)
  velocity = parts.opt_state.velocity
  assert velocity['w'].addressable_shards[0].data.size == velocity['w'].size // 8  # 16 columns over 8 devices
  assert velocity['b'].sharding.is_fully_replicated and parts.params['w'].sharding.is_fully_replicated


def test_an_optimizer_state_in_parts_is_saved_and_restored_elsewhere(tmp_path):
  config = ToyConfig()
  whole, _ = train(Spread(config, True), config, devices=1)
  task, kept = Spread(config, True), checkpoint.Checkpoints(tmp_path)
  tape = begin(task)
  with pytest.raises(loop.Preempted):
    train(task, config, devices=8, tape=tape, checkpoints=kept, pod=StoppedAfter(13))
  state, _ = resume(Spread(config, True), config, tape, kept, devices=2)
  assert_near(whole, state)
