"""What XLA:CPU does with bfloat16 otherwise than one would like, and what to ask for instead.

XLA:CPU gives a product of bfloat16 to its library, YNNPACK, which uses a CPU's matrix unit (AMX), only where the sums
stay float32 and the first matrix lies as it is read; all others it computes in float32. And it moves bfloat16 by way of
float32, which within a loop takes several times as long as moving the same bits as integers (benchmarks/NOTES.md).
"""
import jax
import jax.numpy as jnp

kept = jax.lax.optimization_barrier  # computed once and laid out, instead of fused into each use


def apart(function, *args):
  """`function` of arrays that XLA:CPU has computed before: it fuses past `kept`, but not into a branch."""
  return jax.lax.cond(kept(jnp.bool_(True)), function, lambda *args: jax.tree.map(
      lambda made: jnp.zeros(made.shape, made.dtype), jax.eval_shape(function, *args)), *args)


def bits(x):
  """The uint16 that an array of bfloat16 consists of; others as they are."""
  return jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x


def floats(x):
  """The inverse of `bits`."""
  return jax.lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == jnp.uint16 else x


def wide(x, y, axes: tuple[int, int] = (1, 0)):
  """x: [N, C], y: [C, K], of one dtype -> float32 [N, K]; `axes`: those that are summed over."""
  return jax.lax.dot_general(x, y, (((axes[0],), (axes[1],)), ((), ())), preferred_element_type=jnp.float32)
