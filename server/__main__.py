"""The entry point of `footnote`: what `rag.cli` declares, and `serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from rag.cli import API_KEY_FILE, SERVING, api_key, given, open_screen, run, with_commands


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen.  [default: 127.0.0.1]")
@click.option(
    "-p", "--port", type=click.IntRange(0, 65535), metavar="PORT", help="0 takes a free one.  [default: 8000]"
)
@API_KEY_FILE
@SERVING
def serve(host: str | None, port: int | None, api_key_file: Path | None, quote: bool, **flags: Any) -> int:
    """Answer over HTTP: a page, an OpenAI-compatible endpoint, an API.

    Only this machine can reach it, unless --host says otherwise; then a key is needed. Ctrl-C or SIGTERM
    stops it once the answers in hand have ended, or after ten seconds. The log goes to standard error, one
    JSON object a line, without the questions.
    """
    # heavy
    from rag.config import load
    from server import serving
    from server.config import ServeSettings

    settings = load(ServeSettings, **given(flags), server__host=host, server__port=port)
    in_settings = settings.server.api_key_file
    key = api_key(api_key_file or (Path(in_settings) if in_settings else None))
    return serving.serve(settings, open_screen(), key=key, mode="quote" if quote else "compose")


program = with_commands(serve)
"""Everything that `footnote` can be told."""


def main() -> NoReturn:
    sys.exit(run(sys.argv[1:], program))


if __name__ == "__main__":
    main()
