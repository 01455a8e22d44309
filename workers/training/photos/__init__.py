"""Training and measuring of the model for photographs of mouths."""
