"""Where arrays live: one mesh axis over all devices, rows of a batch split along it, everything else on each."""
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from scoring.problem import Problem

AXIS = 'data'


def make_mesh(devices=None) -> Mesh:
  """A mesh of all devices of all processes (or of those given) along the axis `data`.

  Auto axes are asked for by name: jax.make_mesh now defaults to explicit ones, under which Linen's nn.Embed fails.
  """
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
  """The same array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh, axis: int = 0) -> NamedSharding:
  """Rows, along `axis`, in contiguous blocks over the devices."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def check_divides(mesh: Mesh, batch_size: int, microbatches: int = 1, name: str = 'batch_size'):
  """Raises Problem unless each device gets the same number of rows of every microbatch."""
  if batch_size % (mesh.size * microbatches):
    times = f' x {microbatches} microbatches' if microbatches > 1 else ''
    raise Problem(f'{name}={batch_size} does not divide evenly over {mesh.size} devices{times}; '
                  f'choose a multiple of {mesh.size * microbatches}')


def place(tree, sharding: NamedSharding):
  """Numpy arrays, whole in every process, as global arrays."""
  def one(x):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])
  return jax.tree.map(one, tree)


def place_rows(batch, sharding: NamedSharding):
  """Numpy arrays of this process's rows as global arrays of all processes' rows."""
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)


def spread(tree, mesh: Mesh):
  """The same shapes and types, each split over the devices along its first dimension that divides evenly, if any."""
  def one(x):
    axis = next((axis for axis, size in enumerate(x.shape) if size % mesh.size == 0), None)
    return abstract(x, replicated(mesh) if axis is None else by_row(mesh, axis))
  return jax.tree.map(one, tree)


def abstract(tree, sharding: NamedSharding):
  """The same shapes and types, with `sharding`: what a program is lowered from."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
