"""The `prefix` engine: what an eye has seen and what is asked, as embeddings, into a causal language model.

prompt → engine → batch (decoder, constraint, sampling) → tokens; `gate` says whether the graph may serve.
"""
