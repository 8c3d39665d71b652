"""More than a hundred ways to tamper with a submission, each a function that takes its folder.

A case is (what is done, to which submission, the change, the file that the finding must name, words of it, with | where
one of several will do). Of RESEALED, everything that follows is made anew to match, so that tapes and ledger alone must
give it away.
"""

import json
import shutil

from scoring import cost, ledger


def tape(run: int) -> str:
  return f'runs/{ledger.run_name(run)}/tape.jsonl'


def text(path: str, old: str, new: str, count: int = 1):
  """Replaces text in one file."""

  def change(root):
    content = (root / path).read_text()
    assert old in content and old != new, f'{path} does not hold {old}'
    (root / path).write_text(content.replace(old, new, count))

  return change


def events(run, edit):
  """Edits the events of a tape, or of `all`: `edit` takes the list and changes it in place, or returns another."""

  def change(root):
    names = sorted(p.name for p in (root / 'runs').glob('run_*')) if run == 'all' else [ledger.run_name(run)]
    for name in names:
      path = root / 'runs' / name / 'tape.jsonl'
      before = [json.loads(line) for line in path.read_text().splitlines()]
      after = json.loads(json.dumps(before))
      after = edit(after) or after
      assert after != before
      path.write_text(''.join(json.dumps(e) + '\n' for e in after))

  return change


def header(run, *keys, value):

  def edit(told):
    at = told[0]
    for key in keys[:-1]:
      at = at[key]
    at[keys[-1]] = value(at.get(keys[-1])) if callable(value) else value

  return events(run, edit)


def one(name, edge=None, number=0, **fields):
  """An edit of the n-th event of a name: each field is set to a value, or to what a function makes of it."""

  def edit(told):
    event = [e for e in told if e['event'] == name and e.get('edge') == edge][number]
    for key, value in fields.items():
      event[key] = value(event.get(key)) if callable(value) else value

  return edit


def metric(name, value, number=-1):
  return one('eval', 'stop', number, metrics=lambda metrics: {**metrics, name: value})


def without(name, edge=None, number=0):

  def edit(told):
    told.remove([e for e in told if e['event'] == name and (edge is None or e.get('edge') == edge)][number])

  return edit


def shifted(seconds, start=0, stop=None):
  """Moves the times of a stretch of events."""

  def edit(told):
    for event in told[start:stop]:
      event['time'] += seconds

  return edit


def scaled(factor):
  """Makes a run faster throughout, from the start of its process."""

  def edit(told):
    start = told[0]['time']
    for event in told:
      event['time'] = start + (event['time'] - start) * factor

  return edit


def entries(edit):
  """Edits the entries of the ledger."""

  def change(root):
    path = root / 'runs' / 'ledger.jsonl'
    told = [json.loads(line) for line in path.read_text().splitlines()]
    told = edit(told) or told
    path.write_text(''.join(json.dumps(e) + '\n' for e in told))

  return change


def drop_run(name):

  def change(root):
    shutil.rmtree(root / 'runs' / name)

  return change


def both(*changes):

  def change(root):
    for one_change in changes:
      one_change(root)

  return change


def swap(one_path, other):

  def change(root):
    first, second = (root / one_path).read_bytes(), (root / other).read_bytes()
    (root / one_path).write_bytes(second)
    (root / other).write_bytes(first)

  return change


def copy(source, goal):

  def change(root):
    (root / goal).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / source, root / goal)

  return change


def rename(pattern, goal):

  def change(root):
    path = next(root.glob(pattern))
    path.rename(path.with_name(goal))

  return change


def first_of(pattern, old, new):
  return lambda root: text(next(root.glob(pattern)).relative_to(root).as_posix(), old, new)(root)


def unlink(pattern):
  return lambda root: next(root.glob(pattern)).unlink()


def last_run_gone(root):
  last = sorted((root / 'runs').glob('run_*'))[-1].name
  drop_run(last)(root)
  entries(lambda told: [e for e in told if e['run'] != last])(root)


def first_run_gone_and_renumbered(root):
  """Drops run 0 and moves all others down by one, in the ledger too."""
  drop_run('run_000')(root)
  runs = sorted((root / 'runs').glob('run_*'))
  entries(lambda told: [{**e, 'run': ledger.run_name(int(e['run'][4:]) - 1)} for e in told if e['run'] != 'run_000'])(
    root
  )
  for number, run in enumerate(runs):
    run.rename(run.with_name(ledger.run_name(number)))


def first_run_gone_from_command_lines_too(root):
  """Cuts run 0 off, so that the others look as if they had been asked for as they stand."""
  runs = len(list((root / 'runs').glob('run_*')))
  first_run_gone_and_renumbered(root)
  for number in range(runs - 1):
    text(tape(number), ledger.run_name(number + 1), ledger.run_name(number), -1)(root)
    text(tape(number), f'--runs={runs}', f'--runs={runs - 1}')(root)


def duplicated(root):
  """Puts a copy of run 1 in the place of run 2."""
  shutil.copyfile(root / tape(1), root / tape(2))


def faster_table(root):
  path = next(root.glob('dawnbench/*/train/*.tsv'))
  lines = [line.split('\t') for line in path.read_text().splitlines()]
  path.write_text(
    ''.join('\t'.join([r[0], r[1] if n == 0 else repr(float(r[1]) / 2), *r[2:]]) + '\n' for n, r in enumerate(lines))
  )


def negative_hours(root):
  path = next(root.glob('dawnbench/*/train/*.tsv'))
  lines = path.read_text().splitlines()
  cells = lines[1].split('\t')
  path.write_text('\n'.join([lines[0], '\t'.join([cells[0], '-0.1', *cells[2:]]), *lines[2:]]) + '\n')


H200 = {
  **next(row for row in cost.load() if row['name'] == 'nebius_1x_h200'),
  'instances': 8,
  'usd_per_hour': 28.0,
}
RESEALED = [
  (
    'an evaluation moved back in time',
    'cifar10',
    events(1, one('eval', 'stop', 2, time=lambda t: t - 20)),
    tape(1),
    'before the line above',
  ),
  ('a whole training span shortened', 'digits', events(4, shifted(-0.5, 30)), tape(4), 'before the line above'),
  (
    'the start of the process moved',
    'digits',
    events(3, one('process', time=lambda t: t + 0.3)),
    tape(3),
    'does not start with its process',
  ),
  (
    'the start of the process and of import moved',
    'cifar10',
    events(1, shifted(3.0, 0, 2)),
    tape(1),
    'before the line above|start of the clock was moved',
  ),
  (
    'all times of a run moved by a minute',
    'cifar10',
    events(2, shifted(60.0)),
    tape(2),
    'start of the clock was moved',
  ),
  (
    'the end moved behind that of the ledger',
    'cifar10',
    events(4, shifted(30.0, -3)),
    tape(4),
    'after the end that the ledger has',
  ),
  (
    'all times scaled',
    'cifar10',
    events(1, scaled(0.8)),
    tape(1),
    'before the end that the ledger has',
  ),
  (
    'run_start moved behind the data',
    'digits',
    events(0, lambda told: [*told[:9], *told[10:14], {**told[9], 'time': told[13]['time']}, *told[14:]]),
    tape(0),
    'before run_start',
  ),
  (
    'a second run_start',
    'cifar10',
    events(
      0, lambda told: told.insert(-3, {**next(e for e in told if e['event'] == 'run_start'), 'time': told[-4]['time']})
    ),
    tape(0),
    'run_start again',
  ),
  ('run_start removed', 'cifar10', events(0, without('run_start')), tape(0), 'run_start is missing'),
  (
    'compilation told as a checkpoint',
    'digits',
    events(5, lambda told: [{**e, 'event': 'checkpoint'} if e['event'] == 'compile' else e for e in told]),
    tape(5),
    'no span compile|before run_start',
  ),
  (
    'training told as evaluation',
    'cifar10',
    events(
      0, lambda told: [{**e, 'event': 'eval'} if e['event'] == 'train' and n < 40 else e for n, e in enumerate(told)]
    ),
    tape(0),
    'of eval is missing',
  ),
  (
    'the stop of a span removed',
    'cifar10',
    events(0, without('train', 'stop', 3)),
    tape(0),
    'starts inside span train',
  ),
  (
    'the start of a span removed',
    'cifar10',
    events(0, without('eval', 'start', 3)),
    tape(0),
    'stops, but did not start',
  ),
  (
    'input longer than training',
    'cifar10',
    events(0, one('train', 'stop', 1, data_seconds=500.0)),
    tape(0),
    'data_seconds is 500.0',
  ),
  ('negative input', 'cifar10', events(0, one('train', 'stop', 1, data_seconds=-5.0)), tape(0), 'data_seconds is -5.0'),
  ('accuracy made up', 'digits', events(6, metric('accuracy', 0.99)), tape(6), 'no whole number of 364'),
  ('accuracy in percent', 'cifar10', events(1, metric('accuracy', 94.11)), tape(1), 'not a fraction'),
  (
    'accuracy of ResNet above its top-5',
    'resnet',
    events(1, metric('accuracy', 0.95)),
    tape(1),
    'top5_accuracy is below',
  ),
  (
    'the hit lifted above the target, run_stop as it was',
    'cifar10',
    events(2, metric('accuracy', 0.9401)),
    tape(2),
    'run_stop says aborted',
  ),
  (
    'the hit lifted, run_stop too',
    'cifar10',
    events(2, lambda told: (metric('accuracy', 0.9401)(told), one('run_stop', status='success')(told))[0]),
    tape(2),
    'the ledger says exit status 3',
  ),
  (
    'an evaluation on fewer examples',
    'cifar10',
    events(1, one('eval', 'stop', -1, num_evaluated=9_152)),
    tape(1),
    'counted 9152 examples, not all 10000',
  ),
  (
    'all evaluations on fewer examples',
    'cifar10',
    events(
      'all',
      lambda told: [
        (
          {**e, 'num_evaluated': 5000}
          if 'num_evaluated' in e
          else {**e, 'target': {**e['target'], 'num_examples': 5000}}
          if 'target' in e
          else e
        )
        for e in told
      ],
    ),
    tape(0),
    'target.num_examples is 5000',
  ),
  (
    'an evaluation removed',
    'digits',
    events(2, lambda told: [e for e in told if e['event'] != 'eval' or e['step'] != 33]),
    tape(2),
    'one is missing',
  ),
  (
    'steps left out',
    'cifar10',
    events(1, lambda told: [e for e in told if e['event'] != 'train' or not 40 < e['step'] < 80]),
    tape(1),
    'step',
  ),
  ('samples changed', 'cifar10', events(1, one('train', 'stop', 2, samples=1)), tape(1), 'has 1 sample,'),
  ('epochs changed', 'cifar10', events(1, one('eval', 'stop', -1, epoch=5.0)), tape(1), 'is at epoch 5.0'),
  (
    'trick flag removed',
    'cifar10',
    events(1, lambda told: told[0].update(tricks={})),
    tape(1),
    'tricks say test_time_augmentation None',
  ),
  (
    'trick flag removed from all',
    'cifar10',
    header('all', 'tricks', 'test_time_augmentation', value=None),
    tape(0),
    'tricks say test_time_augmentation None',
  ),
  (
    'progressive resizing removed from all',
    'cifar10',
    events('all', lambda told: told[0]['tricks'].pop('progressive_resizing') and None),
    tape(3),
    'tricks say progressive_resizing None',
  ),
  (
    'trick taken out of the config too',
    'cifar10',
    events(
      'all',
      lambda told: told[0].update(
        tricks={'progressive_resizing': told[0]['tricks']['progressive_resizing']},
        config=told[0]['config'].replace("'uncertain'", "'none'"),
      ),
    ),
    tape(0),
    'in the ledger',
  ),
  ('target lowered', 'cifar10', header(1, 'target', 'value', value=0.93), tape(1), 'the target is 0.93'),
  ('target lowered in all', 'cifar10', header('all', 'target', 'value', value=0.93), tape(4), 'the target is 0.93'),
  ('target of another metric', 'cifar10', header(1, 'target', 'metric', value='loss'), tape(1), 'lacks loss'),
  (
    'hyperparameter changed',
    'digits',
    header(7, 'hyperparameters', 'opt_base_learning_rate', value=0.02),
    tape(7),
    'hyperparameter opt_base_learning_rate',
  ),
  (
    'hyperparameter of no config field changed in all',
    'cifar10',
    header('all', 'hyperparameters', 'opt_learning_rate_warmup_steps', value=3),
    tape(0),
    'its code makes it',
  ),
  (
    'schedule shortened',
    'cifar10',
    header('all', 'hyperparameters', 'opt_learning_rate_training_steps', value=100),
    tape(0),
    'the schedule in its hyperparameters has 100',
  ),
  (
    'config of one run changed',
    'cifar10',
    header(1, 'config', value=lambda c: c.replace('label_smoothing = 0.09', 'label_smoothing = 0.1')),
    tape(1),
    'label_smoothing is 0.1 in its config, in the ledger',
  ),
  (
    'target of an easier metric',
    'resnet',
    header('all', 'target', 'metric', value='top5_accuracy'),
    tape(0),
    'the target is of top5_accuracy, in its config of accuracy',
  ),
  (
    'target of digits of another metric',
    'digits',
    header('all', 'target', 'metric', value='loss'),
    tape(0),
    'the target is of loss, in its config of accuracy',
  ),
  (
    'runs of somebody else under an own name',
    'digits',
    header('all', 'submitter', 'organization', value='Mine'),
    tape(0),
    "organization is 'Mine', on its command line None",
  ),
  (
    'machine named as another',
    'digits',
    header('all', 'submitter', 'hardware', value='a small one'),
    tape(0),
    "hardware is 'a small one', on its command line None",
  ),
  (
    'division changed in all',
    'digits',
    header('all', 'division', value='open'),
    tape(0),
    "division is 'open', on its command line None",
  ),
  (
    'everything after the hit cut off',
    'digits',
    both(
      events(3, lambda told: told[: 1 + max(n for n, e in enumerate(told) if e['event'] == 'eval')]),
      entries(lambda told: told[7].update(exit_status=-9)),
    ),
    tape(3),
    'reached its target and has no end',
  ),
  ('model renamed in all', 'cifar10', header('all', 'model', value='smaller'), tape(0), 'model is'),
  ('batch size changed', 'digits', header('all', 'batch_size', value=256), tape(0), 'batch_size is 256'),
  ('seed changed', 'digits', header(4, 'seed', value=77), tape(4), 'seed is 77'),
  (
    'seed and its config changed',
    'digits',
    header(4, 'config', value=lambda c: c.replace('seed = 4', 'seed = 77')),
    tape(4),
    'seed is 4, in its config 77',
  ),
  (
    'seed changed everywhere in the tape',
    'digits',
    both(
      text(tape(4), '"seed": 4', '"seed": 77'),
      text(tape(4), 'seed = 4', 'seed = 77'),
      text(tape(4), 'seed=4', 'seed=77'),
    ),
    tape(4),
    'in the ledger 4',
  ),
  ('commit changed', 'digits', header(4, 'git_commit', value='1' * 40), tape(4), 'git_commit is'),
  ('commit changed in all', 'digits', header('all', 'git_commit', value='1' * 40), tape(0), 'no such commit'),
  ('dirty checkout', 'digits', header('all', 'git_dirty', value=True), tape(0), 'at no commit'),
  ('price lowered', 'cifar10', header(1, 'price', 'usd_per_hour', value=1.0), tape(1), 'usd_per_hour is 1.0'),
  ('price lowered in all', 'cifar10', header('all', 'price', 'usd_per_hour', value=1.0), tape(0), 'by prices.csv'),
  (
    'price of another date',
    'cifar10',
    header('all', 'price', 'date', value='2020-01-01'),
    tape(0),
    'date is 2020-01-01',
  ),
  (
    'price of no table',
    'cifar10',
    header('all', 'price', 'name', value='my_cloud'),
    tape(0),
    "no price is named 'my_cloud'",
  ),
  (
    'price of other hardware',
    'cifar10',
    header('all', 'price', value=H200),
    tape(0),
    'is not that of NVIDIA H100',
  ),
  (
    'price of other hardware, named on the command line',
    'cifar10',
    both(header('all', 'price', value=H200), header('all', 'command', value=lambda c: [*c, '--price=nebius_1x_h200'])),
    tape(0),
    'is not that of NVIDIA H100',
  ),
  (
    'price of a CPU that of a GPU, named on the command line',
    'digits',
    both(header('all', 'price', value=H200), header('all', 'command', value=lambda c: [*c, '--price=nebius_1x_h200'])),
    tape(0),
    'is not that of cpu',
  ),
  (
    'another price than that named on the command line',
    'cifar10',
    header('all', 'command', value=lambda c: [*c, '--price=nebius_1x_h200']),
    tape(0),
    '--price on its command line nebius_1x_h200',
  ),
  (
    'no price where the command line gives one',
    'cifar10',
    both(header('all', 'price', value=None), header('all', 'command', value=lambda c: [*c, '--usd_per_hour=90'])),
    tape(0),
    'has no price, and its command line gives one: 90',
  ),
  (
    'price given on the command line, with a source of its own',
    'cifar10',
    both(
      header('all', 'price', value={**cost.price_for({}, usd_per_hour=2.0), 'source': 'https://example.org'}),
      header('all', 'command', value=lambda c: [*c, '--usd_per_hour=2']),
    ),
    tape(0),
    '--usd_per_hour on its command line 2',
  ),
  (
    'a run that its command line did not ask for',
    'cifar10',
    header(4, 'command', value=lambda c: [word.replace('--runs=5', '--runs=3') for word in c]),
    tape(4),
    'asked for 3 runs, and so not for this one',
  ),
  (
    'runs that were not made as a set',
    'digits',
    header('all', 'command', value=lambda c: [word for word in c if '--runs' not in word]),
    tape(1),
    'asked for 1 run, and so not for this one',
  ),
  (
    'a run of another set',
    'digits',
    header(4, 'command', value=lambda c: [word.replace('runs/digits20/', 'runs/again/') for word in c]),
    tape(4),
    "the folder of its set is 'again'",
  ),
  (
    'a digest of code that is none',
    'digits',
    header('all', 'code_sha256', value=['x']),
    tape(0),
    'code_sha256 is no text',
  ),
  (
    'steps before the first taken for done',
    'cifar10',
    events('all', lambda told: told[0].update(resumed={'step': 25, 'line': 1})),
    tape(0),
    'nothing is on the tape before it',
  ),
  (
    'an exit before the end',
    'cifar10',
    events(0, lambda told: told.insert(-3, {**told[-1], 'status': 'preempted', 'time': told[-4]['time']})),
    tape(0),
    'after the exit of its process',
  ),
  (
    'not known whether the code was changed',
    'digits',
    header('all', 'git_dirty', value=None),
    tape(0),
    'at no commit',
  ),
  ('price in other money', 'cifar10', header('all', 'price', 'currency', value='EUR'), tape(0), 'currency is EUR'),
  (
    'price said to be given',
    'cifar10',
    header('all', 'price', value={'name': '--usd_per_hour', 'usd_per_hour': 0.1}),
    tape(0),
    '--usd_per_hour on its command line None',
  ),
  ('hardware of one run changed', 'cifar10', header(2, 'hardware', 'device_count', value=1), tape(2), 'hardware is'),
  ('versions of one run changed', 'digits', header(2, 'versions', 'jax', value='0.9.0'), tape(2), 'versions is'),
  ('other data', 'digits', events(2, one('data', 'stop', 0, fingerprint='0' * 64)), tape(2), 'data are not those of'),
  ('division changed', 'resnet', header(1, 'division', value='open'), tape(1), 'division is'),
  (
    'result without digest',
    'digits',
    events(2, one('result', parameters_sha256='none')),
    tape(2),
    'parameters_sha256 is no sha256',
  ),
  ('result removed', 'digits', events(2, without('result')), tape(2), '0 lines result'),
  ('two tapes swapped', 'digits', swap(tape(3), tape(9)), tape(3), 'its command line trained in run_009'),
  ('a run duplicated over another', 'cifar10', duplicated, tape(2), 'the same run, or a copy'),
  ('tape emptied', 'digits', lambda root: (root / tape(3)).write_text(''), tape(3), 'is empty'),
  ('tape cut short', 'digits', events(3, lambda told: told[:40]), tape(3), 'the ledger says exit status 0'),
  (
    'tape replaced by nonsense',
    'digits',
    lambda root: (root / tape(3)).write_text('hello\n'),
    tape(3),
    'not an event of a tape',
  ),
  (
    'header without fields',
    'digits',
    events(3, lambda told: told[0].pop('hardware') and None),
    tape(3),
    'hardware is missing',
  ),
  ('a run dropped', 'digits', drop_run('run_007'), 'runs/run_007', 'is missing'),
  (
    'a run dropped, from the ledger too',
    'digits',
    both(drop_run('run_007'), entries(lambda told: [e for e in told if e['run'] != 'run_007'])),
    'runs/ledger.jsonl',
    'run_008 begins where run_007 should',
  ),
  (
    'the last run dropped, from the ledger too',
    'digits',
    last_run_gone,
    'runs/ledger.jsonl',
    'of its runs 19 began, and the command line of run_000 asked for 20',
  ),
  (
    'the first dropped, the others renumbered',
    'digits',
    first_run_gone_and_renumbered,
    tape(0),
    'its command line trained in run_001',
  ),
  (
    'the first dropped, the others renumbered on their command lines too',
    'digits',
    first_run_gone_from_command_lines_too,
    'runs/ledger.jsonl',
    'run_000 has seed 1; seeds count up from that of the config, so it is 0',
  ),
  ('a run that nobody began', 'digits', copy(tape(3), 'runs/run_020/tape.jsonl'), 'runs/run_020', 'was never begun'),
  (
    'exit status in the ledger changed',
    'cifar10',
    entries(lambda told: [{**e, 'exit_status': 0} if 'exit_status' in e else e for e in told]),
    tape(2),
    'the ledger says exit status 0',
  ),
  (
    'time in the ledger changed',
    'digits',
    entries(lambda told: told[6].update(time=told[6]['time'] - 900)),
    'runs/ledger.jsonl',
    'before the line above it',
  ),
  (
    'seed in the ledger changed',
    'digits',
    entries(lambda told: told[6].update(seed=77)),
    'runs/ledger.jsonl',
    'run_003 has seed 77',
  ),
  (
    'times in the ledger that no bound holds of',
    'digits',
    entries(lambda told: [{**e, 'time': float('nan')} for e in told]),
    'runs/ledger.jsonl',
    'broken',
  ),
  (
    'end in the ledger removed',
    'digits',
    entries(lambda told: told.pop(7) and None),
    'runs/ledger.jsonl',
    'run_003 never ended',
  ),
  (
    'ledger broken',
    'digits',
    lambda root: (root / 'runs/ledger.jsonl').write_text('{}\n'),
    'runs/ledger.jsonl',
    'broken',
  ),
]
MPL = 'mlperf/Daybreak/results/8xNVIDIA-H100-80GB-HBM3/resnet'
AS_IT_IS = [
  (
    'seconds in a record',
    'cifar10',
    first_of('runs/run_001/record.json', '"dawnbench": ', '"dawnbench": 1'),
    'runs/run_001/record.json',
    'from the tapes follows',
  ),
  (
    'accuracy in a record',
    'digits',
    text('runs/run_004/record.json', '"metric": 0.98', '"metric": 0.99'),
    'runs/run_004/record.json',
    'from the tapes follows',
  ),
  (
    'notice taken out of a record',
    'digits',
    text('runs/run_004/record.json', 'Not an official MLPerf result', 'An official MLPerf result'),
    'runs/run_004/record.json',
    'line 2',
  ),
  (
    'time in an MLPerf log',
    'cifar10',
    text('runs/run_001/result_0.txt', '"time_ms": 1790', '"time_ms": 1780'),
    'runs/run_001/result_0.txt',
    'from the tapes follows',
  ),
  (
    'accuracy in an MLPerf log of the package',
    'resnet',
    text(f'{MPL}/result_2.txt', '"value": 0.75', '"value": 0.76'),
    f'{MPL}/result_2.txt',
    'from the tapes follows',
  ),
  (
    'MLPerf logs swapped',
    'resnet',
    swap(f'{MPL}/result_2.txt', f'{MPL}/result_3.txt'),
    f'{MPL}/result_2.txt',
    'from the tapes follows',
  ),
  (
    'a faster window of runs',
    'resnet',
    copy('runs/run_000/result_0.txt', f'{MPL}/result_4.txt'),
    f'{MPL}/result_4.txt',
    'from the tapes follows',
  ),
  (
    'system description changed',
    'resnet',
    first_of('mlperf/*/systems/*.json', '"accelerators_per_node": "8"', '"accelerators_per_node": "4"'),
    'mlperf/Daybreak/systems/',
    'accelerators_per_node',
  ),
  ('hours in an entry', 'cifar10', faster_table, 'dawnbench/CIFAR10/train/', 'from the tapes follows'),
  (
    'negative hours in an entry',
    'cifar10',
    negative_hours,
    'dawnbench/CIFAR10/train/',
    'hours must increase, from 0 or more',
  ),
  (
    'fractions for percents in an entry',
    'cifar10',
    first_of('dawnbench/*/train/*.tsv', '94.', '0.94'),
    'dawnbench/CIFAR10/train/',
    'from the tapes follows',
  ),
  (
    'price in an entry',
    'cifar10',
    first_of('dawnbench/*/train/*.json', '"costPerHour": 31.92', '"costPerHour": 3.192'),
    'dawnbench/CIFAR10/train/',
    'costPerHour',
  ),
  (
    'tricks taken out of an entry',
    'cifar10',
    first_of('dawnbench/*/train/*.json', 'test_time_augmentation', 'none'),
    'dawnbench/CIFAR10/train/',
    'test_time_augmentation',
  ),
  (
    'success rate in the summary',
    'digits',
    text('runs/summary.json', '"reached": 20', '"reached": 19'),
    'runs/summary.json',
    'from the tapes follows',
  ),
  (
    'mean in the summary',
    'digits',
    text('runs/summary.json', '"mean": 1.83', '"mean": 1.73'),
    'runs/summary.json',
    'from the tapes follows',
  ),
  ('table in the README', 'digits', text('README.md', '20 of 20', '21 of 21'), 'README.md', 'from the tapes follows'),
  ('a record missing', 'digits', unlink('runs/run_003/record.json'), 'runs/run_003/record.json', 'is missing'),
  ('a tape missing', 'digits', unlink('runs/run_003/tape.jsonl'), tape(3), 'is missing'),
  ('the ledger missing', 'digits', unlink('runs/ledger.jsonl'), 'runs/ledger.jsonl', 'is missing'),
  ('the manifest missing', 'digits', unlink('manifest.json'), 'manifest.json', 'is missing'),
  ('half of an entry missing', 'cifar10', unlink('dawnbench/*/train/*.tsv'), 'dawnbench/CIFAR10/train/', 'is missing'),
  (
    'an entry renamed',
    'cifar10',
    rename('dawnbench/*/train/*.tsv', 'a_b_c_d.tsv'),
    'dawnbench/CIFAR10/train/a_b_c_d.tsv',
    'belongs to no submission',
  ),
  (
    'a folder renamed',
    'cifar10',
    rename('dawnbench/CIFAR10', 'Cifar10'),
    'dawnbench/Cifar10/',
    'belongs to no submission',
  ),
  ('a file too many', 'digits', copy('README.md', 'runs/best.json'), 'runs/best.json', 'belongs to no submission'),
  (
    'bypass of the RCP check',
    'resnet',
    lambda root: (root / f'{MPL}/package_checker_params').write_text('rcp-bypass'),
    f'{MPL}/package_checker_params',
    'belongs to no submission',
  ),
  (
    'a link in place of a tape',
    'digits',
    lambda root: ((root / tape(3)).unlink(), (root / tape(3)).symlink_to('../run_004/tape.jsonl')),
    tape(3),
    'is a link',
  ),
  (
    'a digest in the manifest',
    'digits',
    lambda root: (root / 'manifest.json').write_text((root / 'manifest.json').read_text().replace('0', '1', 1)),
    'manifest.json',
    'manifest',
  ),
  (
    'author changed',
    'cifar10',
    text('submission.json', 'A. Tester', 'B. Tester'),
    'submission.json',
    'is not the file that manifest.json was made with',
  ),
  (
    'submission without notice',
    'cifar10',
    text('submission.json', 'Not an official', 'An official'),
    'submission.json',
    'must hold the notice',
  ),
  (
    'a tape changed where nothing shows',
    'cifar10',
    events(1, one('eval', 'stop', 2, time=lambda t: t - 0.25)),
    tape(1),
    'is not the file that manifest.json was made with',
  ),
]
