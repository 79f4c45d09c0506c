"""What a call can fail with: one class for each thing that a worker may want to treat differently."""


class ClientError(Exception):
    """The base of all errors of this package."""


class InvalidEventError(ClientError, ValueError):
    """An event can't be sent as it is; the text begins with the field. Nothing of the call was kept."""


class SpoolError(ClientError):
    """The spool could not be read or written. The events of the call that failed are not kept."""


class SpoolFullError(SpoolError):
    """The spool has reached its limit, or the disk is full. The events of the call that failed are not kept."""


class SpoolDamagedError(SpoolError):
    """The spool's file is damaged or is no spool. It is left as it is."""


class ClosedError(ClientError):
    """The client is closed."""


class ForkedError(ClientError):
    """The client was made in the parent process; SQLite connections and threads do not survive a fork."""
