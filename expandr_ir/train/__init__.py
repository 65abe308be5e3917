"""Training: the expander LLM (rewards, preferences, DPO) and the retriever (contrastive), and rounds of both."""
