"""A small SQuAD: made articles, whose questions repeat a sentence of their paragraph up to the word asked for."""
import json
import random

COLOURS = ('red', 'blue', 'green', 'white', 'black', 'yellow', 'brown', 'grey')
THINGS = ('house', 'river', 'stone', 'garden', 'bridge', 'tower', 'market', 'castle', 'window', 'ladder')


def articles(num_paragraphs: int, seed: int, sentences: int = 5) -> dict:
  """In SQuAD's own form: each paragraph says of some things which colour they have, and is asked for each."""
  dice, paragraphs = random.Random(seed), []
  for number in range(num_paragraphs):
    things = dice.sample(THINGS, dice.randint(2, sentences))
    context, qas = '', []
    for thing in things:
      colour = dice.choice(COLOURS)
      sentence = f'The {thing} of Mr. {number + 10}th-street is {colour}-ish. '
      start = len(context) + sentence.index(colour)
      qas.append({'id': f'{seed}-{number}-{thing}', 'question': f'What is the {thing.title()} like?',
                  'answers': [{'text': colour, 'answer_start': start}] * 2})
      context += sentence
    paragraphs.append({'context': context, 'qas': qas})
  return {'version': '1.1', 'data': [{'title': 'made', 'paragraphs': paragraphs}]}


def write(folder, train=None, evaluation=None):
  """Writes both files; what they hold."""
  folder.mkdir(parents=True, exist_ok=True)
  made = articles(120, 0) if train is None else train, articles(30, 1) if evaluation is None else evaluation
  for name, told in zip(('train-v1.1.json', 'dev-v1.1.json'), made):
    (folder / name).write_text(json.dumps(told), encoding='utf-8')
  return made


VOCAB = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', *sorted({
    *COLOURS, *THINGS, 'the', 'of', 'mr', '.', '-', '?', 'is', 'what', 'like', 'th', 'street', 'ish', '##th',
    *map(str, range(10)), *(f'##{n}' for n in range(10))})]
