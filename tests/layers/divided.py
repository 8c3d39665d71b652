"""Whether a batch that is divided over devices is computed where it is."""
import jax
import jax.numpy as jnp

from training import mesh


def assert_it_stays_there(function, devices: int, x: tuple[int, ...], kernel: tuple[int, ...], dtype=jnp.float32,
                          ours: str = ' while('):
  """Compiles the gradients of function(x, kernel), of those shapes, over the rows of x: nothing is gathered.

  ours: what is in the compiled program if it is our own way.
  """
  over = mesh.make_mesh(jax.devices()[:devices])
  args = (jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape, sharding in (
      (x, mesh.by_row(over)), (kernel, mesh.replicated(over))))
  loss = lambda *args: jnp.sum(function(*args).astype(jnp.float32)**2)
  text = jax.jit(jax.grad(loss, (0, 1))).lower(*args).compile().as_text()
  assert ours in text and 'all-reduce(' in text
  assert not any(kind in text for kind in ('all-gather', 'all-to-all', 'collective-permute'))
