"""Reading XML that strangers wrote: no document type, so no entity can be expanded or fetched."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from pocketlens.core.errors import DataError

MAX_BYTES: Final = 16_000_000


def read_xml(path: str) -> Element:
    """The document's root.

    Raises:
        DataError: it can't be read, is no XML, too large, or declares a document type.
    """

    def refuse(*_: object) -> None:
        raise DataError("it declares a document type, which could hide entities")

    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DataError(f"it is larger than {MAX_BYTES / 1e6:g} MB")
        parser.Parse(content, True)
        return builder.close()
    except OSError as error:
        raise DataError(f"it can't be read: {error.strerror}") from error
    except (expat.ExpatError, ValueError, LookupError, AssertionError) as error:
        raise DataError(f"it is no XML: {error}") from error
