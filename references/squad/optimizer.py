"""The optimizers of the readers, built from what the log prints: Adam with decoupled decay, or LAMB."""
import math

import jax
import optax

NAMES = ('adamw', 'lamb')


def hyperparameters(config, num_steps: int) -> dict:
  """Name -> value of everything that `optimizer` is built from; `config` has the fields that `check` looks at."""
  return {
      'opt_name': config.optimizer, 'opt_base_learning_rate': config.learning_rate,
      'opt_learning_rate_warmup_steps': math.ceil(config.warmup_fraction * num_steps),
      'opt_learning_rate_training_steps': num_steps, 'opt_end_learning_rate': 0.0,
      f'opt_{config.optimizer}_beta_1': config.beta_1, f'opt_{config.optimizer}_beta_2': config.beta_2,
      f'opt_{config.optimizer}_epsilon': config.epsilon, f'opt_{config.optimizer}_weight_decay': config.weight_decay,
      'opt_gradient_clip_norm': config.gradient_clip_norm}


def optimizer(h: dict) -> optax.GradientTransformation:
  """Linear warm-up, linear decay to 0; vectors (biases, normalisation) are not decayed.

  The gradient as a whole is clipped to a norm; 0 leaves that out.
  """
  name, warmup, steps = h['opt_name'], h['opt_learning_rate_warmup_steps'], h['opt_learning_rate_training_steps']
  rate = optax.join_schedules([optax.linear_schedule(0.0, h['opt_base_learning_rate'], warmup),
                               optax.linear_schedule(h['opt_base_learning_rate'], 0.0, steps - warmup)], [warmup])
  b1, b2, epsilon, decay = (h[f'opt_{name}_{key}'] for key in ('beta_1', 'beta_2', 'epsilon', 'weight_decay'))
  matrices = lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
  # LAMB (You et al., arXiv 1904.00962, version 3) scales AdamW's update of each matrix to the length of that matrix. As
  # in MLPerf's BERT reference (lamb_optimizer_v1.py), vectors keep Adam's; optax.lamb scales them too.
  scaling = [optax.masked(optax.scale_by_trust_ratio(), matrices)] if name == 'lamb' else []
  clip = h['opt_gradient_clip_norm']
  return optax.chain(
      *([optax.clip_by_global_norm(clip)] if clip else []), optax.scale_by_adam(b1, b2, epsilon),
      optax.add_decayed_weights(decay, matrices), *scaling, optax.scale_by_learning_rate(rate))


def check(config):
  """Raises Problem for values that no reader trains with."""
  config.check({'optimizer': NAMES, 'compute_dtype': ('float32', 'bfloat16')}, (
      ('learning_rate', 0, math.inf), ('warmup_fraction', 0, 0.99), ('beta_1', 0, 0.9999), ('beta_2', 0, 0.999999),
      ('epsilon', 1e-12, 1), ('weight_decay', 0, 10), ('gradient_clip_norm', 0, math.inf), ('num_epochs', 1e-3, 1e6),
      ('dropout', 0, 0.9), ('target_f1', 0, 1), ('eval_every_epochs', 1e-3, 1e6), ('eval_batch_size', 1, 10_000)))
