"""Whether a batch that is divided over devices is computed where it is."""
import jax
import jax.numpy as jnp

from training import mesh


def assert_it_stays_there(function, devices: int, x: tuple[int, ...], kernel: tuple[int, ...]):
  """Compiles the gradients of function(x, kernel), float32 of those shapes, over the rows of x: nothing is gathered."""
  over = mesh.make_mesh(jax.devices()[:devices])
  args = (jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding) for shape, sharding in (
      (x, mesh.by_row(over)), (kernel, mesh.replicated(over))))
  text = jax.jit(jax.grad(lambda *args: jnp.sum(function(*args)**2), (0, 1))).lower(*args).compile().as_text()
  assert ' while(' in text and 'all-reduce(' in text
  assert not any(kind in text for kind in ('all-gather', 'all-to-all', 'collective-permute'))
