"""Why a change of who may see what is refused; each text is shown to whoever asked for it."""


class AccessError(Exception):
    """A change of a user's access was refused; the text says why."""


class BadFieldError(AccessError):
    """A field has an invalid value: `field` names it, `expected` says which values are valid."""

    def __init__(self, field: str, expected: str) -> None:
        """Take the field's name and the text of what is expected."""
        super().__init__(f"{field}: {expected}")
        self.field = field
        self.expected = expected


class NotLinkedError(AccessError):
    """The workspace is not linked to the user, so it can't be the current one."""


class UnknownKeyError(AccessError):
    """The user never had such an API key."""


class DeletedWorkspaceError(AccessError):
    """The workspace was deleted: nobody can be linked to it, and no tool connected."""


class BusyError(AccessError):
    """Too many concurrent changes of the user; a retry helps."""
