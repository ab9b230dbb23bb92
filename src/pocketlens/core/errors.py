"""Errors a user can mend.

Each message is one line that says what is wrong, where, and how to mend it. The command line
prints it and exits with 2; anything that is not a `UserError` is a fault of ours and exits with 1.
"""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can mend. The message is one line, without a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ImageError(UserError):
    """One image can't be used; runs over many images list it and go on.

    Attributes:
        code: a word for programs: `empty_image`, `unknown_image_format`, `svg_image`,
            `too_many_pixels`, `damaged_image`, `unreadable_image`.
    """

    def __init__(self, message: str, code: str = "unreadable_image") -> None:
        super().__init__(message)
        self.code = code


class DataError(UserError):
    """A data set, or a file that describes one, can't be used as it is."""


class BundleError(UserError):
    """A bundle is damaged, altered, unknown, or doesn't fit what was asked of it."""


class MissingExtraError(UserError):
    """An optional dependency isn't installed; the message names the pip command."""
