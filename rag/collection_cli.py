"""What can be typed after `footnote collection`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rag.config import Settings
    from rag.present import Screen

Ready = Callable[[dict[str, Any]], "tuple[Settings, Screen]"]


def collection_group(home: Callable[[Any], Any], ready: Ready) -> click.Group:
    """The commands; `home` is the option of where collections are, `ready` makes settings of flags."""

    @click.group()
    def collection() -> None:
        """List, copy, delete, export and import collections."""

    @collection.command("list")
    @click.argument("url", metavar="[URL]", required=False)
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
    @home
    def listed(url: str | None, as_json: bool, **flags: Any) -> int:
        """List the collections under HOME, or those of a database.

        The database is that of URL, or that of the collection that the settings name.
        """
        from rag import collection_commands  # heavy

        settings, screen = ready({**flags, "collection": url})
        return collection_commands.list_collections(settings, screen, as_json=as_json)

    @collection.command()
    @click.argument("name", metavar="NAME|URL")
    @click.option("-y", "--yes", "agreed", is_flag=True, help="Do not ask.")
    @home
    def delete(name: str, agreed: bool, **flags: Any) -> int:
        """Delete a collection, with the files that were uploaded into it.

        Asks first. Files that were indexed from folders stay where they are.
        """
        from rag import collection_commands  # heavy

        settings, screen = ready({**flags, "collection": name})
        return collection_commands.delete_collection(settings, screen, agreed=agreed)

    @collection.command()
    @click.argument("name", metavar="NAME|FOLDER")
    @click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
    @home
    def export(name: str, file: Path, **flags: Any) -> int:
        """Write a collection to one file, with a checksum.

        It holds texts, passages, vectors and uploaded files; it is a plain tar archive.
        """
        from rag import collection_commands  # heavy

        settings, screen = ready({**flags, "collection": name})
        return collection_commands.export(settings, screen, file)

    @collection.command("import")
    @click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
    @click.option("-c", "--collection", "name", metavar="NAME", help="Its name here.  [default: as exported]")
    @home
    def imported(file: Path, name: str | None, **flags: Any) -> int:
        """Make a collection of an exported file.

        Every byte is checked first. What is damaged, was changed, or was written by a newer Footnote is
        refused, and nothing is left of it.
        """
        from rag import collection_commands  # heavy

        settings, screen = ready({**flags, "collection": name})
        return collection_commands.import_(settings, screen, file, is_named=name is not None)

    @collection.command()
    @click.argument("source", metavar="FROM")
    @click.argument("target", metavar="TO")
    @home
    def copy(source: str, target: str, **flags: Any) -> int:
        """Copy a collection into another one.

        Each is a name, a folder or the URL of a database. Texts, passages, vectors, former texts and uploaded
        files go over, nothing is embedded again. What arrives is read back and compared; interrupted, the
        same command goes on. TO is made, and may hold nothing that FROM has not.
        """
        from rag import collection_commands  # heavy

        into, screen = ready({**flags, "collection": target})
        return collection_commands.copy(ready({**flags, "collection": source})[0], into, screen)

    return collection
