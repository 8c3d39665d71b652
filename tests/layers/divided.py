"""Whether a batch that is divided over devices is computed where it is."""
import jax
import jax.numpy as jnp

from training import mesh


def over(devices: int, x, kernel):
  """x by row and the kernel whole on each of so many devices; arrays, or shapes with a dtype."""
  made = mesh.make_mesh(jax.devices()[:devices])
  return [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding) if isinstance(a, jax.ShapeDtypeStruct) else
          jax.device_put(a, sharding) for a, sharding in ((x, mesh.by_row(made)), (kernel, mesh.replicated(made)))]


def assert_it_stays_there(function, devices: int, x: tuple[int, ...], kernel: tuple[int, ...], dtype=jnp.float32):
  """Compiles the gradients of function(x, kernel), of those shapes, over the rows of x: nothing is gathered."""
  args = over(devices, *(jax.ShapeDtypeStruct(shape, dtype) for shape in (x, kernel)))
  loss = lambda *args: jnp.sum(function(*args).astype(jnp.float32)**2)
  text = jax.jit(jax.grad(loss, (0, 1))).lower(*args).compile().as_text()
  assert ' while(' in text and 'all-reduce(' in text
  assert not any(kind in text for kind in ('all-gather', 'all-to-all', 'collective-permute'))
