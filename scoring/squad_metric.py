"""SQuAD v1.1's own metric: exact match and F1 of answers, each the best over the answers that people gave.

After the definition in Rajpurkar et al., arXiv 1606.05250, and the script published with the data, whose numbers it
gives.
"""
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping

_ARTICLES = re.compile(r'\b(a|an|the)\b')
_NO_PUNCTUATION = str.maketrans('', '', string.punctuation)


def normalize(text: str) -> str:
  """Lower case, without ASCII punctuation and articles, single spaces."""
  return ' '.join(_ARTICLES.sub(' ', text.lower().translate(_NO_PUNCTUATION)).split())


def exact(prediction: str, answers: Iterable[str]) -> bool:
  """Whether the prediction is one of the answers, both normalised."""
  return normalize(prediction) in map(normalize, answers)


def f1(prediction: str, answers: Iterable[str]) -> float:
  """The harmonic mean of precision and recall over words, 0..1, of the answer that suits best."""
  return max(_f1(normalize(prediction).split(), normalize(answer).split()) for answer in answers)


def _f1(predicted: list[str], wanted: list[str]) -> float:
  common = (Counter(predicted) & Counter(wanted)).total()
  return 2 * common / (len(predicted) + len(wanted)) if common else 0.0


def score(answers: Mapping[str, Iterable[str]], predictions: Mapping[str, str]) -> dict[str, float]:
  """`exact_match` and `f1` in percent over all questions; one without a prediction counts as wrong.

  answers: id -> what people answered; predictions: id -> text.
  """
  told = [(predictions[name], given) for name, given in answers.items() if name in predictions]
  return {'exact_match': 100 * sum(exact(*pair) for pair in told) / len(answers),
          'f1': 100 * sum(f1(*pair) for pair in told) / len(answers)}
