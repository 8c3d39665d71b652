"""Memory that is freed stays with a process that computes on CPUs."""
import ctypes
import glob
import os

ACCELERATORS = ('/dev/nvidia[0-9]*', '/dev/dxg', '/dev/kfd', '/dev/accel[0-9]*', '/dev/vfio/[0-9]*')
KEPT = {-1: -1, -4: 0, -8: 1}  # mallopt(3): M_TRIM_THRESHOLD never, M_MMAP_MAX none, M_ARENA_MAX one for all threads


def keep_freed():
  """Has glibc keep freed memory for what is allocated next, on a machine without accelerators.

  XLA:CPU allocates the temporary memory of a program at each call, gigabytes for a training step, and the kernel clears
  every page of it anew: a sixth of the CPU time of a step of airbench (benchmarks/NOTES.md). In return the process
  keeps its largest size to its end. To be called before jax starts its threads, since a thread stays with its heap.
  Nothing is done where there is no mallopt, or where a MALLOC_... in the environment says how memory is kept.
  """
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  told = any(name.startswith('MALLOC_') for name in os.environ)
  if mallopt and not told and not any(map(glob.glob, ACCELERATORS)):
    for parameter, value in KEPT.items():
      mallopt(parameter, value)
