"""What the platform costs and how fast it is, as ratios measured side by side on one machine.

goals (what is wanted) · measuring (rounds, spread, processor time) · machine (where) · one module for each group of
goals · report (table, JSON, plot) · safe_rate (for a user's own frames). The command is `captionstream bench`.
"""
