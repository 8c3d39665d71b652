"""The processor that this runs on."""
import os
import platform
from pathlib import Path


def cpu() -> dict[str, str]:
  """What Linux says of the first processor, by name, such as `model name` and `flags`; empty elsewhere."""
  try:
    first = Path('/proc/cpuinfo').read_text().partition('\n\n')[0]
  except OSError:
    return {}
  return {name.strip(): value.strip() for name, _, value in (line.partition(':') for line in first.splitlines())}


def name() -> str:
  return cpu().get('model name') or platform.processor() or platform.machine()


def bfloat16_instructions() -> list[str] | None:
  """Those that an x86 processor has; none: it imitates bfloat16 by float32; None: not known."""
  flags = cpu().get('flags')
  return flags and [flag for flag in ('amx_bf16', 'avx512_bf16') if flag in flags.split()]


def cores() -> int | None:
  """How many of its cores this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
