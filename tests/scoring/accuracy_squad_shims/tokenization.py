"""What accuracy-squad.py and create_squad_data.py use of BERT's tokenization.py, by the package tokenizers."""
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer


class BasicTokenizer:
  """Words and punctuation, before they become pieces."""

  def __init__(self, do_lower_case):
    self._normalizer, self._split = BertNormalizer(lowercase=do_lower_case), BertPreTokenizer()

  def tokenize(self, text):
    return [word for word, _ in self._split.pre_tokenize_str(self._normalizer.normalize_str(text))]


def printable_text(text):
  return text


def whitespace_tokenize(text):
  return text.split()
