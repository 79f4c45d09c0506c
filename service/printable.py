"""Escapes control characters of untrusted text before it reaches a terminal."""


def harmless(text: object) -> str:
    """Return a text that moves no cursor, ends no line and hides nothing.

    What Unicode does not count as printable (controls, line ends, directions, lone surrogates) is escaped as in Python.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in str(text))
