"""Reads and checks SQuAD's own files: JSON of articles, paragraphs, questions and answers."""
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scoring.problem import Problem


@dataclass(frozen=True)
class Question:
  """One question. answers: (text, position of its first character in the context) of each; context[p:p + n] == text.

  paragraph: number of its context among the file's, from 0.
  """
  id: str
  text: str
  context: str
  paragraph: int
  answers: tuple[tuple[str, int], ...]


def read(path) -> list[Question]:
  """The questions of a file, in its order.

  Raises:
    Problem: the file cannot be read, is not UTF-8 or JSON, not SQuAD v1.1, or a record of it is wrong.
  """
  path = Path(path)
  try:
    told = json.loads(path.read_bytes().decode('utf-8'))
  except OSError as error:
    raise Problem(f'{path}: cannot read ({error.strerror}); name the folder that holds it') from None
  except UnicodeDecodeError as error:
    raise Problem(f'{path}: is not UTF-8 at byte {error.start}; get the file again') from None
  except (json.JSONDecodeError, RecursionError) as error:
    where = f'line {error.lineno}, column {error.colno}' if isinstance(error, json.JSONDecodeError) else 'too deep'
    raise Problem(f'{path}: is no JSON ({where}); get the file again') from None
  questions = list(_questions(path, told))
  if not questions:
    raise Problem(f'{path}: holds no question; get the file again')
  seen = set()
  for question in questions:
    if question.id in seen:
      raise Problem(f'{path}: question {question.id}: is there twice; get the file again')
    seen.add(question.id)
  return questions


def _questions(path: Path, told) -> Iterator[Question]:
  number = 0
  for n, article in enumerate(_field(path, 'the file', told, 'data', list)):
    for m, paragraph in enumerate(_field(path, f'article {n}', article, 'paragraphs', list)):
      where = f'article {n}, paragraph {m}'
      context = _field(path, where, paragraph, 'context', str)
      for k, question in enumerate(_field(path, where, paragraph, 'qas', list)):
        name = _field(path, f'{where}, question {k}', question, 'id', str)
        yield _question(path, f'question {name}', name, question, context, number)
      number += 1


def _question(path, where, name, question, context, paragraph) -> Question:
  text = _field(path, where, question, 'question', str)
  if not text.strip():
    raise Problem(f'{path}: {where}: is empty; mend or remove it')
  answers = []
  for answer in _field(path, where, question, 'answers', list):
    words, start = _field(path, where, answer, 'text', str), _field(path, where, answer, 'answer_start', int)
    if not words.strip() or start < 0 or context[start:start + len(words)] != words:
      raise Problem(f'{path}: {where}: answer {words[:40]!r} is not in its context at character {start}; mend or '
                    'remove it')
    answers.append((words, start))
  if not answers:
    raise Problem(f'{path}: {where}: has no answer; this is for SQuAD v1.1, where every question has one')
  return Question(name, text, context, paragraph, tuple(answers))


def _field(path, where, of, name, kind):
  value = of.get(name) if isinstance(of, dict) else None
  if type(value) is not kind:  # a bool is an int to isinstance
    raise Problem(f'{path}: {where}: has no {name} that is {"an" if kind is int else "a"} {kind.__name__}; this is for '
                  'SQuAD v1.1')
  return value
