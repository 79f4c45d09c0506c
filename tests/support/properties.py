"""How long Hypothesis tries: no deadline on a busy machine, and no minutes of shrinking against a database."""

from hypothesis import HealthCheck, Phase, settings

FAST, SHRINK = "fast", "shrink"
_SHARE = 4  # of the examples, one in so many is tried by `make test-fast`
_QUICK_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def load_profiles() -> None:
    """Make the tests' profile the one that counts unless pytest is asked for another by `--hypothesis-profile`."""
    settings.register_profile("tests", deadline=None)
    settings.register_profile(FAST, deadline=None, max_examples=100 // _SHARE)
    settings.register_profile(SHRINK, deadline=None)
    settings.load_profile("tests")


def on_the_database(max_examples: int = 60) -> settings:
    """Return settings for a property whose examples share one database, each in workspaces of its own.

    An example that fails is shown as it was drawn. `--hypothesis-profile=shrink --timeout=0` makes it small first.
    """
    profile = settings.get_current_profile_name()
    return settings(
        max_examples=-(-max_examples // _SHARE) if profile == FAST else max_examples,
        phases=tuple(Phase) if profile == SHRINK else _QUICK_PHASES,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
