"""The official metric of a file of predictions, printed as the official script prints it.

  python -m references.squad.evaluate dev-v1.1.json predictions.json

predictions.json: {question id: text}. Prints {"exact_match": ..., "f1": ...} in percent; a question without a
prediction counts as wrong, and standard error says how many those are.
"""
import json
import sys
from pathlib import Path

from input_pipelines import squad_json
from scoring import squad_metric
from scoring.problem import Problem


def read_predictions(path: Path) -> dict[str, str]:
  """Question id -> text; raises Problem if the file is anything else."""
  try:
    found = json.loads(path.read_bytes().decode('utf-8'))
  except OSError as error:
    raise Problem(f'{path}: cannot read ({error.strerror})') from None
  except ValueError as error:
    raise Problem(f'{path}: is no JSON in UTF-8 ({error})') from None
  if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
    raise Problem(f'{path}: holds no predictions: write one object of question ids and texts')
  return found


def main(argv: list[str], doc: str) -> int:
  if len(argv) != 3 or {'--help', '-h'} & set(argv):
    print(doc)
    return 0 if len(argv) == 2 and {'--help', '-h'} & set(argv) else 2
  questions, predictions = squad_json.read(argv[1]), read_predictions(Path(argv[2]))
  missing = sum(q.id not in predictions for q in questions)
  if missing:
    print(f'{missing} of {len(questions)} questions have no prediction: they count as wrong', file=sys.stderr)
  print(json.dumps(squad_metric.score({q.id: [text for text, _ in q.answers] for q in questions}, predictions)))
  return 0


if __name__ == '__main__':
  try:
    sys.exit(main(sys.argv, __doc__))
  except Problem as problem:
    sys.exit(f'error: {problem}')
