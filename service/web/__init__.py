"""The web processes: the application as gunicorn runs it, and the worker that runs it."""
