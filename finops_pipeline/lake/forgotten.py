"""The error for what the lake no longer knows; on its own, since naming it must load nothing."""


class ForgottenError(Exception):
    """A time was asked for that lies before all that is kept; the message says what is."""
