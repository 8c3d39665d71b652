"""Where arrays live: rows of a batch split over all devices, everything else on each."""
import collections

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from scoring.problem import Problem

AXIS, SLICES = 'data', 'slice'


def make_mesh(devices=None) -> Mesh:
  """A mesh of all devices, or of those given: along `data`, or, of several slices, along `slice` and `data`.

  Devices stand in the order of their slices and processes, so that a process holds one block of consecutive rows, and
  row order does not depend on how many there are. jax.make_mesh would order them by their links, which an all-reduce
  over all of them does not ask for. Auto axes by name: its default is explicit ones, under which nn.Embed fails.

  Raises:
    Problem: slices of different sizes.
  """
  slice_of = lambda device: getattr(device, 'slice_index', None) or 0
  devices = sorted(jax.devices() if devices is None else devices, key=lambda d: (slice_of(d), d.process_index, d.id))
  sizes = collections.Counter(map(slice_of, devices)).values()
  count = len(sizes)
  if len(set(sizes)) > 1:
    raise Problem(f'{len(devices)} devices in {count} slices of different sizes; use slices of one size')
  names, shape = ((SLICES, AXIS), (count, -1)) if count > 1 else ((AXIS,), -1)
  return Mesh(np.array(devices).reshape(shape), names, axis_types=(AxisType.Auto,) * len(names))


def replicated(mesh: Mesh) -> NamedSharding:
  """The same array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh, axis: int = 0) -> NamedSharding:
  """Rows, along `axis`, in contiguous blocks over all devices."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, mesh.axis_names))


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
  """The same shapes and types, each split over a slice's devices along its first dimension that divides evenly, if any.

  Each slice holds all of it: between slices the network is slower.
  """
  def one(x):
    axis = next((axis for axis, size in enumerate(x.shape) if size % mesh.shape[AXIS] == 0), None)
    spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)
    return abstract(x, NamedSharding(mesh, spec))
  return jax.tree.map(one, tree)


def whole(tree):
  """The arrays of a tree on this host, numpy, also those of which other processes hold parts."""
  def one(x):
    if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
      x = jax.jit(lambda y: y, out_shardings=replicated(x.sharding.mesh))(x)
    return np.asarray(x)
  return jax.tree.map(one, tree)


def abstract(tree, sharding: NamedSharding):
  """The same shapes and types, with `sharding`: what a program is lowered from."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
