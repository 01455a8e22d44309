"""Data sets, augmentation, fit, evaluate, export to bundle."""
