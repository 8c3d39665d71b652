"""SQuAD's metric: by hand, and against the numbers published for two systems."""
import json

import pytest

from scoring import squad_metric


@pytest.mark.parametrize('text, normal', [
    ('The  Cat.', 'cat'), ('a an the', ''), ('An "Answer", they said!', 'answer they said'), ('theory', 'theory'),
    ('U.S.A.', 'usa'), ('5,000', '5000'), ('—dash', '—dash'), ('', '')])
def test_texts_are_normalised(text, normal):
  assert squad_metric.normalize(text) == normal


@pytest.mark.parametrize('prediction, answers, f1, exact', [
    ('the cat', ['cat'], 1.0, True), ('black cat', ['cat'], 2 / 3, False), ('dog', ['cat'], 0.0, False),
    ('black cat', ['cat', 'a black cat'], 1.0, True), ('cat cat', ['cat'], 2 / 3, False), ('', ['cat'], 0.0, False),
    ('a', ['cat'], 0.0, False)])
def test_answers_by_hand(prediction, answers, f1, exact):
  assert squad_metric.f1(prediction, answers) == pytest.approx(f1)
  assert squad_metric.exact(prediction, answers) == exact


def test_a_question_without_prediction_is_wrong():
  assert squad_metric.score({'1': ['x'], '2': ['y']}, {'1': 'x', '3': 'z'}) == {'exact_match': 50.0, 'f1': 50.0}


@pytest.mark.parametrize('system, exact, f1', [('bert-ensemble', 86.2062, 92.1956), ('logreg', 40.1419, 50.9815)])
def test_published_predictions_have_the_published_scores(squad_files, system, exact, f1):
  told = json.loads((squad_files / 'dev-v1.1.json').read_text())
  questions = [q for article in told['data'] for paragraph in article['paragraphs'] for q in paragraph['qas']]
  answers = {q['id']: [a['text'] for a in q['answers']] for q in questions}
  scores = squad_metric.score(answers, json.loads((squad_files / f'dev-pred-{system}.json').read_text()))
  assert len(answers) == 10_570
  assert (round(scores['exact_match'], 4), round(scores['f1'], 4)) == (exact, f1)
