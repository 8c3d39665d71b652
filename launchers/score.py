"""Derives every record again, from tapes alone.

  python -m launchers.score --workdir=runs/digits     one run, or a set of runs made with --runs
  python -m launchers.score --workdir=RUNS --runs_needed       how many runs a claim on the set takes
  python -m launchers.score --workdir=RUNS --submission=DIR    writes a set of runs as a submission
  python -m launchers.score --workdir=RUN --inference_tree=DIR  what launchers.infer measured, as MLPerf lays it out
  python -m launchers.score --check=DIR               reviews a submission, runs, or a tree of DAWNBench entries
  python -m launchers.score --workdir=DIR --page      writes a web page of the run, the set, or of all below DIR
  python -m launchers.score --workdir=DIR --page --watch   serves it on this machine, and follows runs that go on
  python -m launchers.score --compare A B             is A faster than B: two sets of runs, or two runs

Exit status: 0 target reached (for a set: all runs are there; compared, whatever came out), 1 error (or not alike, and
so not compared), 2 malformed command line, 3 target not reached.
"""
from pathlib import Path

from absl import flags

from launchers import command, recipe
from scoring import claims, comparison, inference, inference_package, ledger, mlperf_package, packages, record, review
from scoring import tape as tapes
from scoring.problem import Problem, counted

FLAGS = flags.FLAGS
FLAGS.set_gnu_getopt()  # flags may follow the second name of --compare
flags.DEFINE_string('workdir', None, 'folder of a run, or of a set of runs')
flags.DEFINE_bool('page', False, 'write a web page, of everything at or below --workdir, instead of records')
flags.DEFINE_bool('watch', False, 'with --page: serve it on 127.0.0.1 and follow the runs until Ctrl-C; writes nothing')
flags.DEFINE_integer('port', 8000, 'of --watch; 0 takes any that is free', lower_bound=0, upper_bound=65535)
flags.DEFINE_string('check', None, 'folder to review: a submission, runs, several of these, or DAWNBench entries')
flags.DEFINE_string('submission', None, 'folder to write, with --workdir of a set of runs: tapes, records, boards, '
                    'MLPerf package')
flags.DEFINE_string('system', None, 'JSON file of what no tape knows of the machine, for MLPerf\'s system description')
flags.DEFINE_string('reference_points', None, 'JSON file of reference convergence points, in mlperf-logging\'s format, '
                    'to judge a set of runs by, and a submission above MLCommons\' largest batch; default: '
                    'MLCommons\', of an installed mlperf-logging')
flags.DEFINE_bool('runs_needed', False, 'with --workdir of a set of runs: prints how many a claim takes on its success '
                  'rate, or that another is faster; writes nothing')
flags.DEFINE_string('inference_tree', None, 'folder to write, with --workdir of a run: its inference as an Open '
                    'division tree of MLPerf Inference v6.1')
flags.DEFINE_string('compare', None, 'folder of a set of runs, or of a run, to compare with the one named after it')
flags.DEFINE_list('across', [], 'what may differ between the two: ' + ', '.join(comparison.CONDITIONS))
flags.DEFINE_boolean('paired', None, 'pairs runs of the same seed; default: where both sides have the same seeds')
flags.DEFINE_string('output', None, 'file for the comparison, as JSON; or folder for the page, WORKDIR/page by default')
flags.DEFINE_string('author', '', 'for a DAWNBench entry, where the tape names none')
flags.DEFINE_string('author_email', '', 'for a DAWNBench entry, where the tape names none')


def score_run(workdir: Path) -> int:
  """Writes and prints the records of one run; the exit status.

  Raises:
    Problem: there is no run, but a folder of some, or its tape cannot be read.
  """
  inside = sorted({path.parent.name for name in command.BEGUN for path in workdir.glob(f'*/{name}')})
  if inside and not (workdir / 'tape.jsonl').exists():
    more = f' and {len(inside) - 3} more' if inside[3:] else ''
    raise Problem(f'--workdir={workdir}: is no run, but holds {", ".join(inside[:3])}{more}; name one of them, such as '
                  f'--workdir={workdir / inside[0]}, or show all with --page')
  events = tapes.read(workdir)
  if not events:
    raise Problem(f'{workdir}: its tape is empty: the run ended before it could say anything; train again')
  made, refused = command.write_records(events, workdir, author=FLAGS.author, author_email=FLAGS.author_email)
  if refused:
    print(f'dawnbench {refused}')
  for told in inference.write_all(workdir, author=FLAGS.author, author_email=FLAGS.author_email):
    print(told)
  if FLAGS.inference_tree:
    _, lacking = inference_package.write(inference.pairs(workdir), Path(FLAGS.inference_tree).expanduser(),
                                         details=packages.read_system(FLAGS.system))
    print(f'tree      {FLAGS.inference_tree}', *(f'short of  {text}' for text in lacking), sep='\n')
  if made['status'] in ('preempted', 'interrupted'):
    step = max((e.get('step') or 0 for e in tapes.effective(events)), default=0)
    print(f"unfinished: {made['status']} at step {step}; the command that began the run resumes it")
  return command.REACHED if made['reached'] else command.NOT_REACHED


def score_set(runs_dir: Path) -> int:
  """Writes the records of every run of a set and their summary; the exit status."""
  found, first = ledger.rows(runs_dir), packages.first_of(runs_dir)
  points = points_for(first) if first else None  # a bad file is told first
  for row in found:
    if row['status'] != 'missing':
      record.write(tapes.read(runs_dir / row['run']), runs_dir / row['run'], author=FLAGS.author,
                   author_email=FLAGS.author_email)
      for told in inference.write_all(runs_dir / row['run'], author=FLAGS.author, author_email=FLAGS.author_email):
        print(told)
  print(ledger.table(ledger.summarize(runs_dir)))
  print_convergence(runs_dir, points)
  print(f"records   {runs_dir / 'summary.json'} and those of each run")
  unfinished = [row['run'] for row in found if row['status'] != 'complete']
  if unfinished:
    command.fail(f"{runs_dir}: of {counted(len(found), 'run')}, {', '.join(unfinished)} did not end and "
                 f"{'counts as a failure' if len(unfinished) == 1 else 'count as failures'}")
  return command.ERROR if unfinished else 0


def points_for(first: dict) -> dict | None:
  """The reference convergence points that a set of runs is judged by, one's own if --reference_points names them.

  Raises:
    Problem: none of one's own is of the runs' batch size, and of twice as many runs as a result, by MLPerf's rule.
  """
  points = mlperf_package.reference(first, FLAGS.reference_points)
  if FLAGS.reference_points:
    size, least = first['batch_size'], 2 * mlperf_package.BENCHMARKS[first['benchmark']][1]
    of_size = [point for point in points['points'] if point['batch_size'] == size]
    if not of_size or of_size[0]['n'] + 2 < least:  # two are left out of its mean
      found = f'that of {counted(of_size[0]["n"] + 2, "run")}' if of_size else 'those of ' + ', '.join(
          f'{point["batch_size"]:,}' for point in points['points'])
      raise Problem(f'--reference_points={FLAGS.reference_points}: the runs have batch size {size:,}, whose point must '
                    f'be made of {least} runs of the reference or more, and the file has {found}; make that point')
  return points


def print_convergence(runs_dir: Path, points: dict | None):
  """Prints how fast a set of runs converges beside `points`, where its benchmark is one of MLPerf's."""
  first = packages.first_of(runs_dir)
  if first and first['benchmark'] in mlperf_package.BENCHMARKS:
    try:
      chosen = mlperf_package.result(list(ledger.tapes_of(runs_dir)))
      print(*mlperf_package.told(mlperf_package.judge(chosen, points)), sep='\n')
    except Problem as reason:
      print(f'convergence: {reason}')


def runs_needed(runs_dir: Path) -> int:
  """Prints how many runs claims on a set take; the exit status."""
  print(claims.table(ledger.summary(runs_dir)))
  return 0


def submit(runs_dir: Path) -> int:
  """Writes a set of runs as a submission and reviews it; the exit status."""
  directory = Path(FLAGS.submission).expanduser()
  left_out = packages.write(runs_dir, directory, author=FLAGS.author, author_email=FLAGS.author_email,
                            system=packages.read_system(FLAGS.system), reference_points=FLAGS.reference_points)
  for reason in left_out:
    print(f'left out: {reason}')
  return check(directory)


def page(root: Path) -> int:
  """Writes or serves the page of all runs at or below `root`; the exit status."""
  from scoring.page import site, watch
  if FLAGS.watch:
    watch.serve(root, FLAGS.port, announce=lambda line: print(line, flush=True))
    return 0
  output = Path(FLAGS.output).expanduser() if FLAGS.output else root / 'page'
  index, collection = site.write(root, output)
  print(f'page      {index} shows {counted(len(collection.rows), "entry", "entries")}; open it in a browser')
  for problem in collection.problems.values():
    command.fail(review.printable(problem))
  return command.ERROR if collection.problems else 0


def check(root: Path) -> int:
  """Reviews what lies in `root`; the exit status."""
  if wrong := review.nothing(root):
    raise Problem(f'--check={wrong}')
  report = review.review(root)
  recipe.add(report, root)
  for line in report.problems:
    print(f'problem: {review.printable(line)}')
  for line in report.warnings:
    print(f'warning: {review.printable(line)}')
  print(', '.join([counted(report.entries, 'entry', 'entries'), counted(len(report.problems), 'problem'),
                   counted(len(report.warnings), 'warning')]))
  return command.ERROR if report.problems else 0


def compare(folders: list[str]) -> int:
  """Prints how two sets of runs differ, and writes it where --output says; the exit status."""
  made = comparison.compare(*(Path(folder).expanduser() for folder in folders), across=FLAGS.across,
                            paired=FLAGS.paired)
  if FLAGS.output:
    record.write_text(Path(FLAGS.output).expanduser(), record.text(made))
  print(comparison.text(made) + (f'\nrecords   {FLAGS.output}' if FLAGS.output else ''))
  return 0


def _misused(rest: list[str]) -> str | None:
  """What is wrong with the flags taken together, or None."""
  for name, does in (('submission', 'the set of runs that it is made of'), ('page', 'the folder that it shows'),
                     ('runs_needed', 'the set of runs that it looks at'),
                     ('reference_points', 'the set of runs that they judge')):
    if getattr(FLAGS, name) and not FLAGS.workdir:
      return f'--{name} lacks --workdir=DIR, {does}'
  if FLAGS.watch and not FLAGS.page:
    return '--watch lacks --page, and --workdir=DIR, the folder that it shows' if not FLAGS.workdir else (
        '--watch lacks --page: what it serves is the page')
  if [bool(FLAGS.workdir), bool(FLAGS.check), bool(FLAGS.compare)].count(True) != 1:
    return 'give one of --workdir=RUN, --check=DIR and --compare A B'
  if FLAGS.compare and not rest:
    return f'--compare={FLAGS.compare}: with what? write --compare A B'
  if not FLAGS.compare and (FLAGS.across or FLAGS.paired is not None or (FLAGS.output and not FLAGS.page)):
    return '--across, --paired and --output belong to --compare A B, --output to --page too'
  chosen = [f'--{name}' for name in ('submission', 'page', 'runs_needed') if getattr(FLAGS, name)]
  if len(chosen) > 1:
    return f'{" and ".join(chosen)} are different things; give one'
  if FLAGS.reference_points and chosen not in ([], ['--submission']):
    return f'--reference_points judges a set of runs, or a submission, and not with {chosen[0]}'
  if FLAGS.watch and FLAGS.output:
    return '--watch writes nothing, and so takes no --output'
  unknown = [name for name in FLAGS.across if name not in comparison.CONDITIONS]
  return f'--across={unknown[0]}: choose from {", ".join(comparison.CONDITIONS)}' if unknown else None


def main(argv: list[str], doc: str) -> int:
  if command.help_wanted(argv):
    return command.print_help(doc)
  rest = command.parse(argv, pair='compare')
  if wrong := _misused(rest):
    command.fail(wrong)
    return command.USAGE
  if FLAGS.compare:
    return compare([FLAGS.compare, *rest])
  if FLAGS.check:
    return check(Path(FLAGS.check).expanduser())
  workdir = Path(FLAGS.workdir).expanduser()
  if FLAGS.submission:
    return submit(workdir)
  if FLAGS.page:
    return page(workdir)
  a_set = (workdir / 'ledger.jsonl').exists()
  if not a_set and (FLAGS.runs_needed or FLAGS.reference_points):
    raise Problem(f'{workdir}: is no set of runs, which --runs_needed and --reference_points look at; make one with '
                  'launchers.train --runs=N')
  if FLAGS.runs_needed:
    return runs_needed(workdir)
  return score_set(workdir) if a_set else score_run(workdir)


if __name__ == '__main__':
  command.run(main, __doc__)
