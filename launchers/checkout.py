"""The code that runs: its digest, and what git knows of it."""
import functools
import hashlib
import subprocess
from pathlib import Path

from scoring import tape as tapes

ROOMS = ('launchers', 'references', 'training', 'serving', 'layers', 'input_pipelines', 'scoring')


def code_sha256() -> str:
  """Digest of the Python files that a run may use, by path and content; of those that git ignores none."""
  listed = git('ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', *ROOMS)
  paths = (tapes.ROOT / name for name in listed.split('\0')) if listed is not None else (
      path for room in ROOMS for path in (tapes.ROOT / room).rglob('*.py'))
  digest = hashlib.sha256()
  for path in sorted({path for path in paths if path.name.endswith('.py') and path.is_file()}):
    digest.update(f'{path.relative_to(tapes.ROOT)}\n'.encode() + path.read_bytes())
  return digest.hexdigest()


def git(*args: str) -> str | None:
  """What git says of this checkout; None where there is no git or no checkout."""
  return _git(*args) if _is_checkout(tapes.ROOT) else None


@functools.cache
def _is_checkout(root: Path) -> bool:
  """Whether a folder is a checkout of its own, and does not only lie in one of something else."""
  top = _git('rev-parse', '--show-toplevel')
  return top is not None and Path(top).resolve() == root.resolve()


def _git(*args: str) -> str | None:
  try:
    done = subprocess.run(['git', *args], cwd=tapes.ROOT, capture_output=True, text=True)
  except OSError:
    return None
  return done.stdout.strip() if done.returncode == 0 else None


def changed() -> str | None:
  """What of the code, its configs included, is not as it was committed, a line a file; None without git."""
  return git('status', '--porcelain', '--', *ROOMS)


def commit_sha256(commit: str) -> str:
  """`code_sha256` of a commit of this checkout, without checking it out."""
  names = git('ls-tree', '-r', '--name-only', '-z', commit, '--', *ROOMS).split('\0')
  digest = hashlib.sha256()
  for name in sorted((name for name in names if name.endswith('.py')), key=Path):
    content = subprocess.run(['git', 'cat-file', 'blob', f'{commit}:{name}'], cwd=tapes.ROOT, capture_output=True,
                             check=True).stdout
    digest.update(f'{name}\n'.encode() + content)
  return digest.hexdigest()
