"""Training of ``workers.models.conditions``: what was done to single teeth, and what is wrong with them."""
