"""Training and measuring of image classifiers: one or several labels for a whole picture."""
