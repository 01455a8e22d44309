"""Training and measuring of the tooth model."""
