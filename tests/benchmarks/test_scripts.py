"""Every script of benchmarks/ takes flags in one way, and says in one line that its peer is missing."""
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {path.stem: path.read_text() for path in sorted((ROOT / 'benchmarks').glob('*.py'))}
SCRIPTS = [name for name, text in TEXTS.items() if "__name__ == '__main__'" in text]
# script -> (its flags, packages that are not there, what the one line must say)
LACKING = {'tape_overhead': ([], ['mlperf_logging'], "mlperf_logging: .*pip install -e '.[mlperf]'"),
           'query_overhead': ([], ['mlperf_loadgen'], "mlcommons-loadgen.*pip install -e '.[inference]'"),
           'resnet_step': ([], ['torch', 'torchvision'], "torch, torchvision: .*pip install -e '.[peers]' torchvision"),
           'squad': ([], ['torch', 'transformers'], "torch, transformers: .*pip install -e '.[peers]'"),
           'cifar_step': (['--peer_dir={checkout}'], ['torch', 'torchvision'],
                          "torch, torchvision: .*pip install -e '.[peers]' torchvision"),
           'airbench': (['--peer_dir={checkout}'], ['torch', 'torchvision'],
                       "torch, torchvision: .*pip install -e '.[peers]' torchvision")}
NEEDED = {'decode': 'images', 'folding': 'workdir'}
GIVEN = {'decode': ['--images=.'], 'folding': ['--workdir=.'],  # what each must be given
         'airbench_ours': ['--config=references/cifar/configs/gpu.py', '--workdir=.']}


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
  """{(script, what was asked of it): (status, stdout, stderr)}."""
  checkout = tmp_path_factory.mktemp('checkout')
  (checkout / 'airbench94_muon.py').touch()
  asked = {(name, what): {'name': name, 'arguments': arguments, 'missing': []} for name in SCRIPTS
           for what, arguments in (('help', ['--help']), ('wrong', [*GIVEN.get(name, []), '--no_such_flag=1']),
                                   ('word', [*GIVEN.get(name, []), 'word']))}
  asked |= {(name, 'nothing'): {'name': name, 'arguments': [], 'missing': []} for name in NEEDED}
  for name, (arguments, missing, _) in LACKING.items():
    asked[name, 'lacking'] = {'name': name, 'missing': missing,
                              'arguments': [one.format(checkout=checkout) for one in arguments]}
  done = subprocess.run([sys.executable, '-m', 'tests.benchmarks.each_script'], cwd=ROOT, capture_output=True,
                        text=True, input=json.dumps(list(asked.values())))
  assert not done.returncode, done.stderr
  return dict(zip(asked, json.loads(done.stdout)))


def test_there_are_scripts():
  assert {'suite', 'tape_overhead', 'loop_overhead', 'convolution', 'products', 'numerics'} < set(SCRIPTS)


@pytest.mark.parametrize('name', SCRIPTS)
def test_help_is_the_docstring_and_the_flags_and_nothing_is_measured(ran, name):
  status, out, err = ran[name, 'help']
  doc = ast.get_docstring(ast.parse(TEXTS[name]), clean=False)
  assert status == 0 and not err and out.startswith(doc), err
  listed = set(re.findall(r'^  --(\w+)=', out[len(doc):], re.M))
  usage = [command for command in re.split(r'\n(?:\n|  (?=python))', doc) if f'-m benchmarks.{name}' in command]
  assert usage, 'the docstring says how to call it'
  given = {flag for command in usage for flag in re.findall(r'(?:^|[ \[])--(\w+)', command)}
  assert given - {'help'} <= listed
  assert given or not listed, 'the docstring says what its flags are'
  assert listed or 'No flags but --help' in doc


@pytest.mark.parametrize('name', SCRIPTS)
def test_a_wrong_flag_is_one_line_and_status_2(ran, name):
  for what, said in (('wrong', 'no_such_flag'), ('word', "'word' is not a flag")):
    status, out, err = ran[name, what]
    assert (status, out) == (2, ''), err
    assert err.startswith('error: ') and said in err and len(err.splitlines()) == 1, err


@pytest.mark.parametrize('name', NEEDED)
def test_a_flag_that_is_missing_is_one_line_that_says_what_it_is(ran, name):
  status, out, err = ran[name, 'nothing']
  assert (status, out) == (2, '') and len(err.splitlines()) == 1, err
  assert re.match(f'error: --{NEEDED[name]} is missing: folder of ', err), err


@pytest.mark.parametrize('name', LACKING)
def test_a_peer_that_is_missing_is_one_line_that_names_the_extra(ran, name):
  status, out, err = ran[name, 'lacking']
  assert (status, out) == (1, '') and len(err.splitlines()) == 1, err
  pattern = LACKING[name][2].replace('[', r'\[').replace(']', r'\]')
  assert re.match(f'error: {pattern}', err), err
