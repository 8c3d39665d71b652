"""Packages that only a benchmark's peer needs: where one is missing, one line says how to install it."""
import importlib.util

from scoring.problem import Problem

BESIDE = ('torchvision',)  # that no extra has


def need(extra: str, *packages: str):
  """Raises Problem unless these packages can be imported; `extra`, of setup.cfg, has them.

  A script asks before it measures, since what ours took is no ratio without the peer.
  """
  missing = [name for name in packages if importlib.util.find_spec(name) is None]
  if missing:
    raise Problem(f"{', '.join(missing)}: not installed, and the peer needs it; pip install -e '.[{extra}]'"
                  + ''.join(f' {name}' for name in missing if name in BESIDE))
