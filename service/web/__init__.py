"""Pages and API for people and scripts (FastAPI, Jinja2)."""
