"""The samples of Prometheus' text format, read back."""


def read_samples(text: str) -> dict[str, float]:
    """Return the samples of Prometheus' text format."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
