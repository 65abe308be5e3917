"""Rounds: the expander is aligned to the retriever, the retriever is trained to read the expander, and again.

Imports the other rooms of train; the verbs themselves run in processes of their own.
"""
