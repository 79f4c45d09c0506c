"""Lets plain `gunicorn`, started in this directory, run the web application as `campaign-analytics serve` does."""

from service.web.gunicorn_settings import *  # noqa: F403 (gunicorn takes the names that are its own)
