"""A batch cut into blocks that stay in the cache."""
import jax
import jax.numpy as jnp

# Images of a block: four at a time were as fast as any number. A batch that is divided over devices stays where it is
# if their number divides that of a block, so pods of two or four processes need not gather one that four divides.
LEAST_IMAGES = 4


def _split(x, most: int):
  """[B, ...] -> [rows, blocks, ...]: block i holds rows i, i + blocks, ...

  So a batch sharded over devices stays where it is if their number divides `rows`. `rows` is the largest divisor of B
  up to `most` that four divides, or the largest: a batch size without one, say a prime, is right but slow.
  """
  rows = max((n for n in range(1, min(most, len(x)) + 1) if len(x) % n == 0), key=lambda n: (n % LEAST_IMAGES == 0, n))
  return x.reshape(rows, -1, *x.shape[1:])


def over_blocks(block, inputs, *, rows: int, total=None):
  """Runs `block` over blocks of up to `rows` of `inputs`: (its outputs put together, its last one summed)."""
  inputs = [_split(x, rows) for x in inputs]
  count = inputs[0].shape[1]
  outputs = [jnp.zeros((x.shape[0], count, *x.shape[1:]), x.dtype)
             for x in jax.eval_shape(block, *(x[:, 0] for x in inputs))[0]]

  def body(i, carry):
    outputs, total = carry
    made, extra = block(*(jax.lax.dynamic_index_in_dim(x, i, 1, keepdims=False) for x in inputs))
    outputs = [jax.lax.dynamic_update_index_in_dim(out, new, i, 1) for out, new in zip(outputs, made)]
    return outputs, None if total is None else total + extra

  outputs, total = jax.lax.fori_loop(0, count, body, (outputs, total))
  return tuple(out.reshape(-1, *out.shape[2:]) for out in outputs), total
