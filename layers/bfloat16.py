"""Products of matrices on CPUs as XLA's library takes them, and bfloat16 as bits where it is only moved.

XLA:CPU gives a product of bfloat16 to its library, YNNPACK, which uses a CPU's matrix unit (AMX), only where the sums
stay float32 and the first matrix lies as it is read; all others it computes in float32. And it moves bfloat16 by way of
float32, which within a loop takes several times as long as moving the same bits as integers (benchmarks/NOTES.md).

A float32 product of bfloat16 must be rounded before it is turned: XLA makes a product of turned matrices of it, which
its library does not take and its own code cannot compute (jaxlib 0.10.2: "Unsupported element type for DotThunk").
"""
import jax
import jax.numpy as jnp

kept = jax.lax.optimization_barrier  # computed once and laid out, instead of fused into each use


def apart(function, *args):
  """`function` of arrays that XLA:CPU has computed before: it fuses past `kept`, but not into a branch."""
  return jax.lax.cond(kept(jnp.bool_(True)), function, lambda *args: jax.tree.map(
      lambda made: jnp.zeros(made.shape, made.dtype), jax.eval_shape(function, *args)), *args)


def on_cpus(function, otherwise, *args):
  """`function` of the arrays on CPUs if the first is of bfloat16, else `otherwise`."""
  if args[0].dtype != jnp.bfloat16:
    return otherwise(*args)
  return jax.lax.platform_dependent(*args, cpu=function, default=otherwise)


def bits(x):
  """The uint16 that an array of bfloat16 consists of; others as they are."""
  return jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x


def floats(x):
  """The inverse of `bits`."""
  return jax.lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == jnp.uint16 else x


def wide(x, y, axes: tuple[int, int] = (1, 0)):
  """x: [N, C], y: [C, K], of one dtype -> float32 [N, K]; `axes`: those that are summed over."""
  return jax.lax.dot_general(x, y, (((axes[0],), (axes[1],)), ((), ())), preferred_element_type=jnp.float32)


def turned(x):
  """[..., C] -> [C, rows], in such a way that XLA does not undo it before a product, as it would of a matrix alone."""
  if x.dtype != jnp.bfloat16:
    return _rows(x).T
  return floats(kept(jnp.moveaxis(bits(x), -1, 0))).reshape(x.shape[-1], -1)


def over_rows(x, y):
  """x: [..., C], y: [..., K], of one dtype -> float32 [C, K]; x should be the narrower one, since it may be turned."""
  return wide(turned(x), _rows(y))


def _rows(x):
  return x.reshape(-1, x.shape[-1])
