"""From codes of corpora to the token ids that a language model trains on, and back."""
