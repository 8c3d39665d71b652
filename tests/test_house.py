"""The shape of the house: how large its rooms are, and that imports run one way."""
import ast
import io
import tokenize
from pathlib import Path

import pytest

from launchers import checkout

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ('launchers', 'references', 'training', 'serving', 'layers', 'input_pipelines', 'scoring')
ABOVE = {'scoring': (), 'training': ('layers', 'input_pipelines', 'scoring'), 'input_pipelines': ('scoring',),
         'layers': (), 'serving': ('layers', 'scoring'),
         'references': ('training', 'serving', 'layers', 'input_pipelines', 'scoring'),
         'launchers': ('references', 'training', 'serving', 'layers', 'input_pipelines', 'scoring')}
# What a reader of the core, `training` and `scoring`, can leave out, and how many lines of code it may have: pods; what
# is asked of a trained model; numbers of n runs, and of two sets of them; what makes results public and reviews them.
PARTS = {
    'pods': (350, ('pod.py', 'roll_call.py', 'watch.py')),
    'inference': (698, ('scenarios.py', 'loadgen_log.py', 'accuracy_log.py', 'inference_package.py', 'inference.py',
                        'dawnbench_inference.py')),
    'evidence': (509, ('statistics.py', 'two_samples.py', 'comparison.py', 'claims.py', 'convergence.py')),
    'review': (1304, ('audit.py', 'audit_files.py', 'audit_header.py', 'audit_set.py', 'mlperf_package.py',
                     'packages.py', 'published.py', 'review.py')),
}
FILES = [p for room in ROOMS for p in sorted((ROOT / room).rglob('*.py'))]


def code_lines(path: Path) -> int:
  """Lines that hold code: no blank ones, comments or docstrings."""
  text = path.read_text()
  lines = set()
  for token in tokenize.generate_tokens(io.StringIO(text).readline):
    if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
                          tokenize.ENDMARKER):
      lines.update(range(token.start[0], token.end[0] + 1))
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
      lines.difference_update(range(node.lineno, node.end_lineno + 1))
  return len(lines)


def test_the_core_can_be_read_in_an_evening():
  # what shows records is counted by itself
  page = [p for p in FILES if p.relative_to(ROOT).parts[:2] == ('scoring', 'page')]
  core = [p for p in FILES if p.relative_to(ROOT).parts[0] in ('training', 'scoring') and p not in page]
  lines = {p.name: code_lines(p) for p in core}
  for part, (limit, names) in PARTS.items():
    assert sum(lines.pop(name) for name in names) <= limit, part
  # 1,500 for everything that a CIFAR-10 run needs; LARS, LAMB, sharded optimizer states, damaged checkpoints, compiling
  # while the next program is traced, for one platform alone, without looking for garbage and what runs once in haste,
  # running each program once before the first step, and the check of a config's fields, which each reference had for
  # itself, on top.
  assert sum(lines.values()) <= 1717
  assert sum(map(code_lines, page)) <= 636
  scripts = [line for p in (ROOT / 'scoring' / 'page').glob('*.js') for line in p.read_text().splitlines()]
  assert len(scripts) <= 897 and max(map(len, scripts)) <= 120


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_long_and_imports_run_one_way(path):
  text = path.read_text()
  assert len(text.splitlines()) <= 300
  room = path.relative_to(ROOT).parts[0]
  for node in ast.walk(ast.parse(text)):
    names = ([node.module] if isinstance(node, ast.ImportFrom) else
             [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
    for name in names:
      top = (name or '').split('.')[0]
      if top in ROOMS:
        assert top == room or top in ABOVE[room], f'{path} imports {name}'
      if room == 'training' and top == 'layers':  # no network's part, but which platform a program is traced for
        assert [alias.name for alias in node.names] == ['platforms'], f'{path} imports {name}'
      if room == 'scoring':
        assert top not in ('jax', 'flax', 'optax', 'orbax', 'numpy'), f'{path} imports {name}'
      if top == 'flax':
        assert room == 'references' and path.name in ('model.py', 'bert.py'), f'{path} imports flax'


def test_no_function_needs_scrolling():
  for path in FILES:
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.FunctionDef):
        assert node.end_lineno - node.lineno < 60, f'{path}: {node.name}'


def test_every_room_is_in_the_digest_of_the_code_in_packages_and_in_containers():
  assert checkout.ROOMS == ROOMS
  packages, copied, seen = ((ROOT / name).read_text().splitlines() for name in (
      'setup.cfg', 'Containerfile', '.containerignore'))
  for room in ROOMS:
    assert f'    {room}*' in packages and f'COPY {room} {room}' in copied and f'!{room}' in seen, room


def test_every_folder_has_a_readme():
  for room in (*ROOMS, 'references/cifar', 'references/squad', 'references/resnet_imagenet', 'benchmarks', 'results',
               'tests'):
    assert (ROOT / room / 'README.md').is_file(), room
