"""Is A faster than B at the same target: two sets of runs, or single runs, compared by every clock.

What has to be alike for seconds and dollars to mean the same is in CONDITIONS; the rest of what differs, such as the
recipe, is what is compared, and is told. Runs that failed have no seconds to the target: they count in the success
rate and in the expected seconds until a success.
"""
import math
from pathlib import Path

from scoring import audit_set, claims, clocks, ledger, record, statistics, two_samples
from scoring import tape as tapes
from scoring.problem import Problem, counted

CONDITIONS = ('benchmark', 'target', 'hardware', 'data', 'tricks', 'price')
COUNTS_COMPILATION = [c.name for c in clocks.CLOCKS if c.begin == 'process' and c.includes(
    tapes.Span('compile', 0.0, 0.0, 0))]
UNKNOWN = 'no fingerprint'


def _text(value) -> str:
  """A field of a tape for people, the same for the same value."""
  return ', '.join(f'{k} {v}' for k, v in sorted(value.items())) or 'none' if isinstance(value, dict) else str(value)


def _conditions(events) -> dict[str, set[str]]:
  """What a run was made under, by the names of CONDITIONS; two values where a restart changed it."""
  first, processes = events[0], [e for e in events if e['event'] == 'process']
  prints = {e['split']: e['fingerprint'][:16] for e in events if e['event'] == 'data' and e.get('fingerprint')}
  touched = any(e['event'] == 'run_start' for e in events)  # a run that failed before says nothing of its data
  return {'benchmark': {first['benchmark']}, 'target': {_text(first['target'])}, 'tricks': {_text(first['tricks'])},
          'hardware': {_text(p['hardware']) for p in processes},
          'data': {f'{_text(prints) if prints else UNKNOWN}; {first["num_train_examples"]} to train on'}
                  if touched else set(),
          'price': {'none' if p['price'] is None else 'known' for p in processes}}


def _recipe(first: dict) -> dict[str, str]:
  """What may differ and is told: the recipe and the software; the seed is not part of it."""
  config = dict(line.partition(' = ')[::2] for line in first['config'].splitlines())
  return {**{name: _text(first.get(name)) for name in ('fixture', 'model', 'division', 'git_commit', 'git_dirty')},
          **{f'config {name}': value for name, value in config.items() if name != 'seed'},
          **{f'version of {name}': value for name, value in first['versions'].items()},
          'xla_flags': first['xla_flags'] or 'none'}


def load(folder) -> list[dict]:
  """The runs of a set, or the one run of a workdir: rows of `ledger.row` with what a comparison wants besides.

  Raises:
    Problem: there is no tape.
  """
  folder = Path(folder)
  a_set = (folder / 'ledger.jsonl').exists()
  found = ledger.tapes_of(folder) if a_set else [(folder.resolve().name, tapes.read(folder))]
  runs = []
  for name, events in found:
    made = record.record(events) if events else None
    runs.append({**ledger.row(name, made), 'first': events[0] if events else None,
                 'seed': events[0]['seed'] if events else None, 'epochs': made['epoch'] if made else None,
                 'usd': made['cost_usd'] if made else {}, 'conditions': _conditions(events) if events else {}})
  if not any(run['first'] for run in runs):
    raise Problem(f'{folder}: none of its runs has left a tape, so there is nothing to compare; train again')
  return runs


def _union(runs, name: str) -> set[str]:
  return set().union(*(run['conditions'].get(name, ()) for run in runs))


def _told(values: set[str]) -> str:
  return ' and '.join(sorted(values)) or 'nothing'


def _refuse_twins(a, b):
  """Raises Problem where one run is there twice: nothing can be learnt from it again."""
  seen = {}
  for side, runs in (('A', a), ('B', b)):
    for run in runs:
      where = f'{run["run"]} of {side}'
      twin = seen.setdefault(repr(run['first']), where) if run['first'] else where
      if twin != where:
        raise Problem(f'{where} is the same run as {twin}: their tapes begin alike, with the same process at the same '
                      'time; name two different sets of runs')


def pairing(a, b, wanted: bool | None) -> dict:
  """Whether runs are paired by seed, and why: `{'paired', 'why'}`; `wanted` forces it, None leaves it to the seeds.

  Raises:
    Problem: pairs are wanted of runs that have other seeds.
  """
  seeds = [[run['seed'] for run in runs] for runs in (a, b)]
  if min(map(len, seeds)) < 2:
    possible, why = False, 'single runs make no pairs'
  elif any(None in side for side in seeds):
    possible, why = False, 'a run left no tape, and so no seed'
  elif any(len(set(side)) < len(side) for side in seeds):
    possible, why = False, 'a seed comes twice on one side'
  elif set(seeds[0]) != set(seeds[1]):
    possible, why = False, f'seeds differ ({len(set(seeds[0]) & set(seeds[1]))} in common)'
  else:
    possible, why = True, f'both sides have the same seeds, {len(seeds[0])} of them'
  if wanted and not possible:
    raise Problem(f'--paired: {why}; leave it away, or make runs of the same seeds')
  return {'paired': possible and wanted is not False, 'why': '--nopaired' if wanted is False else why}


def _measures(a, b, paired: bool, priced: bool, confidence: float) -> dict:
  """Each measure compared: epochs, and seconds and dollars by each clock; of runs that reached the target."""
  getters = {'epochs': lambda run: run['epochs']}
  for clock in (c.name for c in clocks.CLOCKS):
    getters[f'{clock} seconds'] = lambda run, clock=clock: run['seconds'][clock]
    if priced:
      getters[f'{clock} usd'] = lambda run, clock=clock: run['usd'].get(clock)
  found = {}
  for name, get in getters.items():
    sides = [{(run['seed'] if paired else n): get(run) for n, run in enumerate(runs)
              if run['reached'] and get(run) is not None} for runs in (a, b)]
    if paired:
      sides = [{seed: side[seed] for seed in sorted(sides[0].keys() & sides[1].keys())} for side in sides]
    found[name] = two_samples.compare(*(side.values() for side in sides), paired=paired, confidence=confidence)
  return found


def compare(folder_a, folder_b, *, across=(), paired: bool | None = None, confidence: float = 0.95) -> dict:
  """Compares two sets of runs, or two runs.

  Args:
    folder_a, folder_b: each the folder of a set with its ledger, or the workdir of a run.
    across: names of CONDITIONS in which the two may differ.
    paired: by seed, or not; None: if both sides have the same seeds.
    confidence: of every interval.

  Returns:
    JSON-able dict, which `text` writes for people: the two sides (`a`, `b`; `refused` of one is what a review finds in
    its tapes and ledger), `across` (conditions that differ), `same`, `differ` (recipe and software), `cold`, `pairing`,
    `success_p` (Fisher), `measures` (two_samples.compare) and, by clock, `verdicts`.

  Raises:
    Problem: a condition differs that `across` does not name, a run is on both sides, or pairs are wanted that are none.
  """
  a, b = load(folder_a), load(folder_b)
  _refuse_twins(a, b)
  sides = {name: (_union(a, name), _union(b, name)) for name in CONDITIONS}
  unlike = {name: list(map(_told, values)) for name, values in sides.items() if len(values[0] | values[1]) > 1}
  hidden = [name for name in unlike if name not in across]
  if hidden:
    raise Problem(f'{folder_a} and {folder_b} are not alike: ' + '; '.join(
        f'{name}: A has {unlike[name][0]}, B has {unlike[name][1]}' for name in hidden) +
        f'. Compare runs that are, or say so: --across={",".join(unlike)}')
  recipes = [[_recipe(run['first']) for run in runs if run['first']] for runs in (a, b)]
  told = {name: [{recipe.get(name, 'absent') for recipe in side} for side in recipes]
          for name in dict.fromkeys(name for side in recipes for recipe in side for name in recipe)}
  how, summaries = pairing(a, b, paired), [statistics.summarize(runs, confidence=confidence) for runs in (a, b)]
  priced = 'price' not in unlike and sides['price'][0] == {'known'}
  made = {
      'notice': record.NOTICE, 'confidence': confidence,
      **{side: {'folder': str(folder), 'fixture': any(run['first'].get('fixture') for run in runs if run['first']),
                'unfinished': [run['run'] for run in runs if run['status'] != 'complete'],
                'refused': audit_set.faults(Path(folder)), 'cold': sum(bool(run['cold']) for run in runs),
                'usd_per_hour': sorted({run['first']['price']['usd_per_hour'] for run in runs
                                        if run['first'] and run['first']['price']}), **summary}
         for side, folder, runs, summary in zip('ab', (folder_a, folder_b), (a, b), summaries)},
      'same': {name: _told(values[0] | values[1]) for name, values in sides.items() if name not in unlike},
      'across': unlike,
      'differ': {name: list(map(_told, values)) for name, values in told.items() if len(values[0] | values[1]) > 1},
      'pairing': {**how, 'tests': two_samples.TESTS[how['paired']]},
      'success_p': two_samples.fisher(*(summary[key] for summary in summaries for key in ('reached', 'n'))),
      'measures': _measures(a, b, how['paired'], priced, confidence)}
  return {**made, 'verdicts': {c.name: verdict(made, c.name) for c in clocks.CLOCKS}}


def verdict(made: dict, clock: str) -> str:
  """What a comparison says by one clock, in plain words."""
  found, tests = made['measures'][f'{clock} seconds'], made['pairing']['tests']
  notes = f' [{"; ".join(caveats)}]' if (caveats := list(_caveats(made, clock))) else ''
  n = min(found['n_a'], found['n_b'])
  if n < 2:
    return f'no difference shown: it takes at least 2 runs a side that reached the target, here {n}{notes}'
  if found['p'] is None:
    what = 'differences between pairs' if made['pairing']['paired'] else 'seconds'
    return f'no difference shown: the {what} do not vary at all, as measured ones would{notes}'
  percent, interval = f"{100 * made['confidence']:g} %", found['ratio_interval']
  needed = f"about {found['runs_needed']:,}" if found['runs_needed'] else f'more than {claims.MOST_RUNS:,}'
  takes = f'takes {needed} runs a side, here {n}'
  faster, share = ('A', lambda r: 100 * (1 - r)) if found['ratio'] < 1 else ('B', lambda r: 100 * (1 - 1 / r))
  if found['p'] >= 1 - made['confidence']:
    bounds = f'from {interval[0]:.4f} to {interval[1]:.4f}' if interval else 'without bounds'
    return (f"no difference shown (p = {found['p']:.2g} by {tests[0]}; A / B {bounds}, {percent} interval); to show "
            f"the {share(found['ratio']):.1f} % seen here {takes}{notes}")
  bounds = '{:.1f} to {:.1f} %'.format(*sorted(map(share, interval))) if interval else 'without bounds: too few runs'
  effect = f"{abs(found['difference']):.4g} s a run"
  usd = made['measures'].get(f'{clock} usd')
  if usd and usd['p'] is not None:  # at other prices the faster side may be the dearer one
    cheaper = 'A' if usd['difference'] < 0 else 'B'
    effect += (', dollars not shown to differ' if usd['p'] >= 1 - made['confidence'] else
               f", and {'cheaper' if cheaper == faster else 'DEARER'} by {abs(usd['difference']):.4g} USD")
  least = 2 / 2**n if made['pairing']['paired'] else 2 / math.comb(found['n_a'] + found['n_b'], n)
  doubt = '' if found['rank_p'] < 1 - made['confidence'] else (
      f", but {found['rank_p']:.2g} by {tests[1]}" + (', the least that so few runs can give' if least >= 1 - made[
          'confidence'] else ''))
  return (f"{faster} is faster by {share(found['ratio']):.1f} % ({percent} interval {bounds}), {effect}; "
          f"p = {found['p']:.2g} by {tests[0]}{doubt}; to show as much again {takes}{notes}")


def _caveats(made: dict, clock: str):
  """Yields what a reader of a verdict must know besides."""
  a, b = made['a'], made['b']
  if refused := ' and '.join(name for name, side in (('A', a), ('B', b)) if side['refused']):
    yield f'a review refuses {refused}'
  if made['across']:
    yield f'across {", ".join(made["across"])}'
  if made['same'].get('data', '').startswith(UNKNOWN):
    yield 'no tape has a fingerprint of its data, which may differ'
  if (made['measures'][f'{clock} seconds']['ratio_interval'] or [None])[0] == 0:
    yield 'too few runs: the interval of A / B is cut at 0'
  if clock in COUNTS_COMPILATION and a['cold'] * b['n'] != b['cold'] * a['n']:
    yield 'counts compilation, which came from a warm cache more often on one side'
  if a['reached'] < a['n'] or b['reached'] < b['n']:
    expected = [side['seconds'][clock]['expected_seconds_to_success'] for side in (a, b)]
    found, told = made['measures'][f'{clock} seconds'], ', '.join(
        f'{name} ' + ('unknown' if value is None else f'{value:.5g} s') for name, value in zip('AB', expected))
    if found['difference'] and None not in expected and found['difference'] * (expected[0] - expected[1]) < 0:
      told += f', and so {"A" if expected[0] < expected[1] else "B"} is the faster one by its point estimate'
    yield f'of the runs that reached the target; until a success, failures included: {told}'


def _cell(value) -> str:
  return '-' if value is None else str(value) if isinstance(value, int) else f'{value:.{5 if abs(value) < 1e5 else 9}g}'


def text(made: dict) -> str:
  """A comparison for people: what was compared, the two sides, what differs between them, and the verdicts."""
  percent, lines = f"{100 * made['confidence']:g} %", []
  for name, side in (('A', made['a']), ('B', made['b'])):
    low, high = side['success_rate']['interval']
    lines.append(f"{name}         {side['folder']}{' (fixture)' * side['fixture']}: {side['reached']} of {side['n']} "
                 f"reached the target ({percent} interval {100 * low:.1f} to {100 * high:.1f} %), {side['cold']} cold")
    if side['usd_per_hour']:
      lines.append(f"          at {' and '.join(f'{price:g}' for price in side['usd_per_hour'])} USD an hour")
    if side['refused']:
      lines.append(f"REFUSED   by review: {side['refused'][0]} ({counted(len(side['refused']), 'finding')}; "
                   f"launchers.score --check={side['folder']} lists all)")
    if side['unfinished']:
      lines.append(f"          did not end, and count as failures: {', '.join(side['unfinished'])}")
  lines += [f'same      {name}: {value}' for name, value in made['same'].items()]
  lines += [f'ACROSS    {name}: A {a}, B {b}' for name, (a, b) in made['across'].items()]
  lines += [f'differ    {name}: A {a}, B {b}' for name, (a, b) in made['differ'].items()]
  lines.append(f"{'paired' if made['pairing']['paired'] else 'unpaired'}".ljust(10) + made['pairing']['why'])
  lines += [f"success   equally often: p = {made['success_p']:.2g} by Fisher's exact test", '']
  means, effects = [('', 'n A', 'mean A', 'sd A', 'expected A', 'n B', 'mean B', 'sd B', 'expected B')], [
      ('', 'A - B', 'low', 'high', 'A / B', 'low', 'high', 'p', 'rank p', 'needed')]
  for name, found in made['measures'].items():
    clock, _, unit = name.rpartition(' ')
    described = [side['seconds'][clock] if unit == 'seconds' else {} for side in (made['a'], made['b'])]
    means.append((name, *map(_cell, (x for s, d in zip('ab', described) for x in (
        found[f'n_{s}'], found[f'mean_{s}'], found[f'sd_{s}'], d.get('expected_seconds_to_success'))))))
    effects.append((name, *map(_cell, (
        found['difference'], *(found['difference_interval'] or (None, None)), found['ratio'],
        *(found['ratio_interval'] or (None, None)), found['p'], found['rank_p'], found['runs_needed']))))
  lines += [*statistics.aligned(means), '', *statistics.aligned(effects), '']
  lines.append(f'low, high: {percent} interval; p by {made["pairing"]["tests"][0]}, rank p by '
               f'{made["pairing"]["tests"][1]}; expected: seconds until a success, failures included')
  lines.append('needed: runs a side that show a difference as large as this four times in five')
  lines += [f'{clock}: {words}' for clock, words in made['verdicts'].items()]
  return '\n'.join([*lines, made['notice']])
