"""Training and evaluation of the vertebra network."""
