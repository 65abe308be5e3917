"""Files: topics, qrels, runs, expansions, manifests: read by line, saved whole. Imports records and errors."""
