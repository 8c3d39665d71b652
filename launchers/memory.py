"""Memory that is freed stays with a process that computes on CPUs."""
import ctypes
import glob

ACCELERATORS = ('/dev/nvidia*', '/dev/kfd', '/dev/accel*', '/dev/vfio/*')
KEPT = {-1: -1, -4: 0, -8: 1}  # mallopt(3): M_TRIM_THRESHOLD never, M_MMAP_MAX none, M_ARENA_MAX one for all threads


def keep_freed():
  """Has glibc keep freed memory for what is allocated next, on a machine without accelerators.

  XLA:CPU allocates the temporary memory of a program at each call, gigabytes for a training step, and the kernel clears
  every page of it anew: a sixth of the CPU time of a step of airbench (benchmarks/NOTES.md). To be called before jax
  starts its threads, since a thread stays with its heap. Where there is no mallopt, nothing is done.
  """
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt and not any(map(glob.glob, ACCELERATORS)):
    for parameter, value in KEPT.items():
      mallopt(parameter, value)
