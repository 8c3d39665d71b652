"""What accuracy-squad.py uses of transformers: BERT's tokenizer, here that of the package tokenizers."""
from tokenizers import BertWordPieceTokenizer


class BertTokenizer:
  """Uncased word pieces over a vocabulary file."""

  def __init__(self, vocab_file):
    self._made = BertWordPieceTokenizer(vocab_file, lowercase=True)

  def tokenize(self, text):
    return self._made.encode(text, add_special_tokens=False).tokens

  def convert_tokens_to_ids(self, tokens):
    return [self._made.token_to_id(token) for token in tokens]
