"""Rounds: the expander is aligned to the retriever, the retriever is trained to read the expander, and again."""
