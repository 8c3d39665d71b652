"""What F1 comes without reading the question: always the same words of the paragraph, those that suit training best.

  python -m references.squad.prior [--data_dir=DIR]

Prints that span, learned from the training split, and its F1 and exact match on the evaluation split.
"""
import json
import os
import sys

import numpy as np
from absl import app, flags

from input_pipelines import squad
from scoring.problem import Problem

FLAGS = flags.FLAGS
LONGEST, FURTHEST = 30, 100  # words of a span, and where it may begin


def best_constant(rows: np.ndarray, lengths: np.ndarray) -> tuple[int, int]:
  """(first word, number of words) with the largest mean overlap F1 with the answers' words.

  rows: int [N, 2], first and last word of each answer; lengths: int [N], words of its paragraph.
  """
  first, stop = rows[:, 0], rows[:, 1] + 1
  def gain(begin, size):
    end = np.minimum(begin + size, lengths)
    common = np.clip(np.minimum(stop, end) - np.maximum(first, begin), 0, None)
    return (2 * common / np.maximum(stop - first + end - begin, 1)).mean()
  return max(((begin, size) for begin in range(FURTHEST) for size in range(1, LONGEST + 1)), key=lambda s: gain(*s))


def scored(data_dir: str) -> dict:
  """The best constant answer to the training set's questions, and its scores on the others.

  Raises:
    Problem: the data are not there, or damaged.
  """
  train, evaluation = (squad.Words(data_dir, split) for split in ('train', 'eval'))
  known = train.rows[:, 1] >= 0
  begin, size = best_constant(train.rows[known, 1:], train.lengths[known])
  answers = squad.Answers(data_dir)

  def text(n):
    spans = evaluation.spans[evaluation.rows[n, 0]]
    last = min(begin + size, len(spans)) - 1
    return answers.questions[n].context[spans[min(begin, last), 0]:spans[last, 1]]

  f1, exact = answers.scores(text)
  count = len(evaluation.rows)
  return {'first_word': begin, 'words': size, 'f1': f1 / count, 'exact_match': exact / count, 'num_evaluated': count}


def main(_):
  try:
    print(json.dumps(scored(os.path.expanduser(FLAGS.data_dir))))
  except Problem as problem:
    sys.exit(f'error: {problem}')


if __name__ == '__main__':
  flags.DEFINE_string('data_dir', '~/tensorflow_datasets', 'folder of data sets')
  app.run(main)
