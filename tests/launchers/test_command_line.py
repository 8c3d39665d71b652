"""The command line that a tape keeps, however it was written."""
import dataclasses
import os
import shlex
import subprocess
import sys

import pytest
from absl import flags

from launchers import command as commands
from launchers import recipe
from scoring import audit, audit_header, mlperf_package
from scoring import tape as tapes
from tests.tapes import HEADER
from training import config as configs

DIGITS = 'references/cifar/configs/digits.py'
WRITTEN = ('--workdir W --runs 2 --config references/cifar/configs/digits.py --config.batch_size 64 -price=p '
           '--nocheckpoints --config.seed 3 --usd_per_hour 1.5')
MEANT = ['--workdir=W', '--runs=2', f'--config={DIGITS}', '--config.batch_size=64', '--price=p', '--nocheckpoints',
         '--config.seed=3', '--usd_per_hour=1.5']


@pytest.fixture
def defined():
  """The flags of launchers.train, as far as these tests write them."""
  values = flags.FlagValues()
  for name in ('workdir', 'config', 'price'):
    flags.DEFINE_string(name, None, '', flag_values=values)
  flags.DEFINE_integer('runs', 1, '', flag_values=values)
  flags.DEFINE_float('usd_per_hour', None, '', flag_values=values)
  flags.DEFINE_bool('checkpoints', True, '', flag_values=values)
  configs.define_flags(configs.load(str(tapes.ROOT / DIGITS)), values)
  return values


@pytest.mark.parametrize('path', sorted(tapes.ROOT.glob('references/*/configs/[a-z]*.py')), ids=lambda path: path.stem)
def test_help_explains_each_field_of_each_config(path, capsys):
  kind = type(configs.load(str(path)))
  told = commands.fields_help(kind)
  assert {field.name for field in dataclasses.fields(kind)} == set(told)
  assert min(map(len, told.values())) > 9, told


def test_help_of_fields_ends_with_their_section():
  @dataclasses.dataclass(frozen=True)
  class Config(configs.Config):
    """Trains.

    Attributes:
      seed: of all draws.
      other: no field.

    Raises:
      Problem: at once.
    """
  told = commands.fields_help(Config)
  assert told['seed'] == 'of all draws.' and set(told) == {field.name for field in dataclasses.fields(Config)}


def test_help_of_a_config_is_that_of_its_docstring():
  done = subprocess.run([sys.executable, '-m', 'launchers.train', f'--config={DIGITS}', '--help'], cwd=tapes.ROOT,
                        capture_output=True, text=True, check=True).stdout
  assert "--config.label_smoothing='0.1'\n      of the training loss.\n" in done
  assert "      peak_learning_rate, warmup_fraction: Adam's learning rate rises linearly over that part of " in done
  assert 'of the config\n' not in done


def test_a_flag_given_as_two_words_is_recorded_as_one(defined):
  assert commands.recorded(shlex.split(WRITTEN), defined) == MEANT
  assert commands.recorded(['--config.peak_learning_rate', '-1'], defined) == ['--config.peak_learning_rate=-1']


def test_flags_from_a_file_are_recorded(defined, tmp_path):
  (tmp_path / 'flags').write_text('--runs=2\n--price\np\n')
  assert commands.recorded([f'--flagfile={tmp_path / "flags"}'], defined) == ['--runs=2', '--price=p']


def test_a_config_of_this_checkout_is_recorded_by_its_place_there(defined, monkeypatch):
  monkeypatch.chdir(tapes.ROOT / 'references')
  for given in (str(tapes.ROOT / DIGITS), 'cifar/configs/digits.py'):
    assert commands.recorded(['--config', given], defined) == [f'--config={DIGITS}']
  assert commands.recorded(['--config=/elsewhere/x.py'], defined) == ['--config=/elsewhere/x.py']


@pytest.mark.parametrize('config', [DIGITS, str(tapes.ROOT / DIGITS)])
def test_a_tape_that_keeps_two_words_is_read_alike(config):
  command = [config if word == DIGITS else word for word in shlex.split(WRITTEN)]
  made = configs.load(str(tapes.ROOT / DIGITS))
  made = type(made)(**{**vars(made), 'batch_size': 64, 'seed': 3})
  price = {'name': '--usd_per_hour', 'usd_per_hour': 1.5}
  first = {'event': 'process', **HEADER, **recipe.describe(made, made.make_task('')), 'command': command,
           'price': price}
  assert list(recipe._task([first])) == audit.guarded(audit_header.config, [first]) == []
  assert audit.guarded(audit_header.price, [first]) == []
  assert audit_header.values(command, 'runs') == ['2'] and audit_header.flag(command, 'workdir') == 'W'
  assert '64' in str(list(recipe._task([{**first, 'config': configs.to_text(configs.load(str(tapes.ROOT / DIGITS)))}])))
  script = mlperf_package._command(first)
  assert '--config.batch_size=64' in script and '--runs' not in script and ' W ' not in script


@pytest.mark.parametrize('word', ['--config.no_such_field=1', '--config.batch_size=many', '--config.batch_size'])
def test_a_command_line_that_no_run_can_have_had_is_a_finding(word):
  first = {'event': 'process', **HEADER, 'command': [f'--config={DIGITS}', word]}
  lines = list(recipe._task([first]))
  assert len(lines) == 1 and 'its command line is none that its code takes' in lines[0] and '\n' not in lines[0]


def test_a_run_of_two_words_and_an_absolute_config_is_reviewed_without_a_finding(tmp_path):
  run = [sys.executable, '-m', 'launchers.train', '--workdir', str(tmp_path / 'run'), '-config',
         str(tapes.ROOT / DIGITS), '--config.num_epochs', '1', '--usd_per_hour', '2', '--nocheckpoints']
  assert subprocess.run(run, cwd=tapes.ROOT, capture_output=True).returncode == 3
  first = tapes.read(tmp_path / 'run')[0]
  assert first['command'][1:3] == [f'--config={DIGITS}', '--config.num_epochs=1']
  lines = audit.findings([{**event, 'git_dirty': False} if event['event'] == 'process' else event
                          for event in tapes.read(tmp_path / 'run')])
  assert lines == [] and list(recipe._task(tapes.read(tmp_path / 'run'))) == []


def test_ctrl_c_speaks_of_no_checkpoints_where_there_are_none(monkeypatch, capsys):
  def interrupted(argv, doc):
    raise KeyboardInterrupt
  ended = []
  monkeypatch.setattr(os, '_exit', ended.append)
  commands.run(interrupted, '')
  assert ended == [commands.INTERRUPTED] and capsys.readouterr().err == 'error: interrupted\n'
