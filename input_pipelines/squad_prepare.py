"""Prepares SQuAD v1.1: from the official files to the arrays that `squad` reads, kept as long as nothing changes."""
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from input_pipelines import download, squad, squad_bert, squad_json, squad_words, staging
from scoring.problem import Problem

URL = 'https://rajpurkar.github.io/SQuAD-explorer/dataset/'
# As TensorFlow Datasets has them (tensorflow_datasets/datasets/squad/checksums.tsv).
OFFICIAL = {
    'train-v1.1.json': (30_288_272, '3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955'),
    'dev-v1.1.json': (4_854_279, '95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9')}
SPLITS = {'train': 'train-v1.1.json', 'eval': 'dev-v1.1.json'}
VERSION = 2  # of the arrays: counted up when they change


def prepare(data_dir: Path, from_dir: Path | None, vocab: Path | None) -> str:
  """Writes the arrays of both splits, for word pieces too where `vocab` names BERT's vocabulary: what to print.

  Raises:
    Problem: a file that is missing or wrong; no network; no space.
  """
  with staging.folder(data_dir, 'squad') as folder:
    files = _find(from_dir) if from_dir else _download(folder)
    made = squad_bert.tokenizer(vocab) if vocab else None
    sums = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    source = {'version': VERSION, **sums, 'vocab': hashlib.sha256(vocab.read_bytes()).hexdigest() if vocab else None}
    goal = squad.directory(data_dir)
    if _kept(data_dir, source):
      return _report(data_dir, 'already there, of the same files and vocabulary: nothing to do')
    staged = folder / 'staged'
    staged.mkdir()
    told = _write(files, staged, made)
    told['official'] = all(sums[name] == OFFICIAL[name][1] for name in files)
    told = {'source': source, 'fingerprint': fingerprint(staged), **told}
    (staged / squad.TOLD).write_text(json.dumps(told, indent=1) + '\n', encoding='utf-8')
    if goal.exists():
      os.rename(goal, folder / 'before')
    goal.parent.mkdir(parents=True, exist_ok=True)
    os.rename(staged, goal)
  return _report(data_dir, 'written')


def _find(from_dir: Path) -> dict[str, Path]:
  files = {name: from_dir / name for name in OFFICIAL}
  for name, file in files.items():
    if not file.is_file():
      raise Problem(f'--from_dir={from_dir}: {name} is not there; name the folder that holds both files, or leave '
                    '--from_dir out to download them')
  return files


def _download(folder: Path) -> dict[str, Path]:
  for name, (size, sha256) in OFFICIAL.items():
    download.fetch(URL + name, folder / name, size=size, sha256=sha256,
                   otherwise=f'get {name} elsewhere and name its folder with --from_dir')
  return {name: folder / name for name in OFFICIAL}


def fingerprint(folder: Path) -> str:
  """sha256 over the sha256 of every file but squad.json."""
  sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())
          if file.name != squad.TOLD}
  return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def _kept(data_dir: Path, source: dict) -> bool:
  """Whether what is there was made of the same sources and is whole, to the byte."""
  try:
    told = squad.told(data_dir)
  except Problem:
    return False
  return told['source'] == source and told['fingerprint'] == fingerprint(squad.directory(data_dir))


def _write(files: dict[str, Path], folder: Path, made) -> dict:
  """Writes all arrays into `folder`; what squad.json says of them."""
  questions = {split: squad_json.read(files[name]) for split, name in SPLITS.items()}
  for split, name in SPLITS.items():
    shutil.copyfile(files[name], folder / f'{split}.json')
  contexts = {split: _contexts(of) for split, of in questions.items()}
  cut = {split: ([squad_words.words(text) for text in contexts[split]],
                 [squad_words.words(q.text) for q in questions[split]]) for split in SPLITS}
  texts = {split: [found[0] for part in cut[split] for found in part] for split in SPLITS}
  vocabulary = squad_words.Vocabulary(texts['train'], texts['eval'])
  (folder / 'words.txt').write_text('\n'.join(vocabulary.words) + '\n', encoding='utf-8', newline='\n')
  for name in ('chars', 'lower', 'stems'):
    np.save(folder / f'word_{name}.npy', getattr(vocabulary, name))
  told = {'special': {piece: made.token_to_id(piece) for piece in squad_bert.SPECIAL} if made else {},
          'num_pieces': made.get_vocab_size() if made else 0,
          'num_words': vocabulary.num_trained, 'num_chars': len(vocabulary.alphabet), 'splits': {}}
  for split, (paragraphs, asked) in cut.items():
    told['splits'][split] = write_split(
        folder, f'{split}_words', questions[split], [vocabulary.ids(found) for found, _ in paragraphs],
        [spans for _, spans in paragraphs], [vocabulary.ids(found) for found, _ in asked])
    if made:
      told['splits'][split]['num_sequences'] = write_bert(folder, split, questions[split], contexts[split], made)
  return told


def _contexts(questions) -> list[str]:
  found = {q.paragraph: q.context for q in questions}
  return [found.get(n, '') for n in range(max(found) + 1)]


def _ragged(folder: Path, name: str, rows):
  """Rows of different length, one after another, and where each begins."""
  np.save(folder / f'{name}.npy', np.concatenate(rows))
  np.save(folder / f'{name}_starts.npy', np.cumsum([0, *map(len, rows)], dtype=np.int64))


def write_split(folder: Path, name: str, questions, paragraphs, spans, asked) -> dict:
  """Writes tokens of paragraphs and questions, and where the first answer of each question is; what to tell of them."""
  _ragged(folder, f'{name}_context', paragraphs)
  _ragged(folder, f'{name}_spans', spans)
  _ragged(folder, f'{name}_question', asked)
  answers = [squad_words.token_span(spans[q.paragraph], start, start + len(text))
             for q in questions for text, start in q.answers[:1]]
  cut = [q.context[spans[q.paragraph][first, 0]:spans[q.paragraph][last, 1]] if first >= 0 else None
         for q, (first, last) in zip(questions, answers)]
  exact = sum(text == q.answers[0][0] for q, text in zip(questions, cut))
  np.save(folder / f'{name}_rows.npy',
          np.array([(q.paragraph, *answer) for q, answer in zip(questions, answers)], np.int32))
  return {'num_questions': len(questions), 'num_paragraphs': len(paragraphs), 'exact_answers': exact,
          'longest_context': max(map(len, paragraphs)), 'longest_question': max(map(len, asked))}


def write_bert(folder: Path, split: str, questions, contexts: list[str], made) -> int:
  """Writes the word pieces of a split and its windows; how many sequences they are."""
  paragraphs = [squad_bert.pieces(made, text) for text in contexts]
  asked = [squad_bert.pieces(made, q.text)[0][:squad_bert.MAX_QUESTION] for q in questions]
  write_split(folder, f'{split}_bert', questions, [ids for ids, _ in paragraphs], [spans for _, spans in paragraphs],
              asked)
  answers = np.load(folder / f'{split}_bert_rows.npy')
  rows = []
  for n, (question, of) in enumerate(zip(questions, asked)):
    for window in squad_bert.windows(len(paragraphs[question.paragraph][0]), len(of)):
      rows.append((n, *window, *squad_bert.answer(answers[n, 1], answers[n, 2], window, len(of))))
  np.save(folder / f'{split}_sequences.npy', np.array(rows, np.int32))
  return len(rows)


def _report(data_dir: Path, note: str) -> str:
  """What is there, and how it came about."""
  found, told = squad.metadata(data_dir), squad.told(data_dir)
  splits = told['splits']
  lines = [f"squad: {splits['train']['num_questions']:,} questions to train, {splits['eval']['num_questions']:,} to "
           f"evaluate; {found.num_words:,} words, {found.num_chars:,} characters",
           f'folder       {squad.directory(data_dir)}', f'             {note}',
           'from         ' + ('the official files' if told['official'] else
                              'files that are not byte for byte the official ones')]
  lines += [f"{split:<13}{100 * s['exact_answers'] / s['num_questions']:.2f} % of first answers begin and end where "
            f"words do; longest paragraph {s['longest_context']:,} words, longest question {s['longest_question']:,}"
            for split, s in splits.items()]
  lines += [f'{share.split:<13}padding {100 * share.before:.1f} % in batches of one length, {100 * share.after:.1f} % '
            f'in buckets {share.buckets}' for share in squad.padding(data_dir)]
  lines += ['for BERT     ' + (', '.join(f"{s['num_sequences']:,} sequences ({split})" for split, s in splits.items())
                               if found.num_pieces else 'nothing; add --vocab=FILE, the vocab.txt of an uncased BERT')]
  return '\n'.join([*lines, f'fingerprint  {found.fingerprint}'])
