"""Tables of published runs for READMEs, made from tapes: whatever stands between two markers is generated.

  <!-- results: overview -->           one line for each folder of results
  <!-- results: NAME -->               the record of a run, or the statistics of a set of runs
  <!-- results: NAME evaluations -->   each evaluation of a run
  <!-- end of results -->              ends each of them
"""
import datetime
import re
from pathlib import Path

from scoring import audit_header, audit_set, ledger, record
from scoring import tape as tapes
from scoring.audit_files import different
from scoring.problem import Problem

END = '<!-- end of results -->'
BLOCK = re.compile(r'(?P<head><!-- results: (?P<what>[^\n]*?) -->\n).*?' + END, re.DOTALL)


def folders(results: Path) -> list[Path]:
  """The published runs and sets of runs, by name.

  Raises:
    Problem: there is no such folder, or a set in it has no ledger.
  """
  if not results.is_dir():
    raise Problem(f'--results_dir={results}: is {"no folder" if results.exists() else "not there"}; name the one of '
                  'published runs')
  found = sorted(p for p in results.iterdir() if p.is_dir())
  for folder in found:
    if audit_set.runs_of(folder) and not (folder / 'ledger.jsonl').exists():
      raise Problem(f'{folder}: is a set of runs without its ledger; put its ledger.jsonl back or remove the folder')
  return [p for p in found if (p / 'ledger.jsonl').exists() or (p / 'tape.jsonl').exists()]


def _first(folder: Path) -> dict:
  """The header of a run, or of the first run of a set that has a tape."""
  found = sorted(folder.glob('tape.jsonl')) or sorted(folder.glob('run_*/tape.jsonl'))
  events = next((events for events in map(tapes.read, found) if events), None)
  if events is None:
    raise Problem(f'{folder}: holds no tape; remove it or restore its tapes')
  if events[0].get('fixture'):
    raise Problem(f'{folder}: is a fixture, made up: nothing was trained; remove it')
  return events[0]


def overview(results: Path) -> str:
  """A Markdown table with a row for each folder; of a set of runs the means."""
  lines = ['| folder | recipe | reached | metric | seconds, dawnbench | hardware | jax | date |', '|' + '---|' * 8]
  for folder in folders(results):
    first = _first(folder)
    config = audit_header.flag(first['command'], 'config')
    if (folder / 'ledger.jsonl').exists():
      told = ledger.summary(folder)
      reached, metric = f'{told["reached"]} of {told["n"]}', told['metric']['mean']
      seconds = told['seconds']['dawnbench']['mean']
    else:
      told = record.record(tapes.read(folder))
      reached, metric = 'yes' if told['reached'] else 'no', told['metric']
      seconds = told['seconds_to_target']['dawnbench']
    hardware = first['hardware']
    date = datetime.datetime.fromtimestamp(first['time'], datetime.UTC).date()
    target = first['target']
    lines.append(
        f'| `{folder.name}` | `{config}` | {reached} | {target["metric"]} {_number(metric, 4)} (target '
        f'{target["value"]}) | {_number(seconds, 2)} | {hardware["device_count"]} x {hardware["device_kind"]}, '
        f'{hardware["host"]}, {hardware["host_cores"]} cores | {first["versions"]["jax"]} | {date} |')
  return '\n'.join(lines) + '\n'


def _number(value, digits: int) -> str:
  return '-' if value is None else f'{value:.{digits}f}'


def table(folder: Path) -> str:
  """The statistics of a set of runs, or the record of a run, as the commands print them."""
  made = ledger.table(ledger.summary(folder)) if (folder / 'ledger.jsonl').exists() else record.table(
      record.record(tapes.read(folder)))
  return f'```\n{made.strip()}\n```\n'


def evaluations(folder: Path) -> str:
  """A Markdown table of what a run's evaluations found, and when."""
  made = record.record(tapes.read(folder))
  names = list(dict.fromkeys(name for e in made['evaluations'] for name in e['metrics']))
  lines = ['| ' + ' | '.join(['epoch', *names, 'seconds, dawnbench', 'seconds, mlperf']) + ' |',
           '|' + '---|' * (len(names) + 3)]
  for e in made['evaluations']:
    cells = [f'{e["epoch"]:.6g}', *(_number(e['metrics'].get(name), 4) for name in names),
             _number(e['seconds']['dawnbench'], 1), _number(e['seconds']['mlperf'], 1)]
    lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines) + '\n'


def update(text: str, results: Path) -> str:
  """A text with every marked block made anew.

  Raises:
    Problem: a marker names no folder or no kind of table, or has no end.
  """
  if not text.count('<!-- results:') == text.count(END) == len(BLOCK.findall(text)):
    raise Problem(f'a marker <!-- results: ... --> has no {END}, or the other way around; add it')

  def made(match) -> str:
    name, _, kind = match['what'].partition(' ')
    if match['what'] == 'overview':
      return match['head'] + overview(results) + END
    folder = results / name
    if folder not in folders(results) or kind not in ('', 'evaluations'):
      raise Problem(f'<!-- results: {match["what"]} -->: names no folder of {results}, or no kind of table; correct it')
    return match['head'] + (evaluations(folder) if kind else table(folder)) + END
  return BLOCK.sub(made, text)


def stale(results: Path, pages: list[Path], *, write: bool = False) -> list[str]:
  """What is not as its tapes say: each page, and each summary.json; `write` makes them anew.

  A folder without a block of its own in README.md of the results is named too, whether or not `write` is given.
  """
  found = []
  for folder in folders(results):
    if (folder / 'ledger.jsonl').exists():
      path = folder / 'summary.json'
      if not path.exists() or different(folder, path.name, record.text(ledger.summary(folder))):
        found.append(f'{path}: is not what its tapes say')
        if write:
          ledger.summarize(folder)
  for page in pages:
    try:
      text = page.read_text(encoding='utf-8')
      made = update(text, results)
    except OSError as error:
      raise Problem(f'{page}: cannot be read ({error.strerror}); restore it') from None
    except Problem as problem:
      raise Problem(f'{page}: {problem}') from None
    if made != text:
      found.append(f'{page}: a table is not what its tapes say')
      if write:
        record.write_text(page, made)
  return found


def unmentioned(results: Path) -> list[str]:
  """Folders that README.md of the results has no table of."""
  text = (results / 'README.md').read_text(encoding='utf-8')
  return [f'{folder}: README.md has no <!-- results: {folder.name} -->; write what it is, and add the marker'
          for folder in folders(results) if f'<!-- results: {folder.name} -->' not in text]
