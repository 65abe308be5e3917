"""Training data: rows and their splits, hard negatives, queries for a bare corpus.

Imports everything below train, and nothing else of train.
"""
