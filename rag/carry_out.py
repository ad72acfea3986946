"""How a command line is carried out, and how a run ends: exit codes, errors as one line, closed pipes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from index.errors import FootnoteError, UsageError
from rag.jsonform import dumps, error_object
from rag.visible import visible

INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell reports for a program that SIGPIPE ended, as it would any filter in front of `head`."""

HELP_WIDTH = 80


def context_settings(program: click.Group, *, terminal: bool) -> dict[str, Any]:
    """Into a pipe the help has one width, whatever COLUMNS says, so that it can be compared."""
    return {**program.context_settings, **({} if terminal else {"terminal_width": HELP_WIDTH})}


def carry_out(arguments: Sequence[str], program: click.Group) -> int:
    """Carry out one command line; the exit code. Nothing is raised, whatever happens."""
    as_json, streams = "--json" in arguments, "--stream" in arguments
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character shows a question mark; an answer is not lost for it.
            stream.reconfigure(errors="replace")
    try:
        code = _carried_out(arguments, program)
        sys.stdout.flush()
        return code
    except FootnoteError as error:
        _report(error, as_json, streams)
        return error.exit_code
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            sys.stderr.write("\n")
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # Rich ends the program itself when its pipe is closed.
        _let_go_of_output()
        return PIPE_CLOSED
    except Exception as error:
        return _unexpected(error, as_json, streams)


def _open_closed_streams() -> None:
    """A shell's `>&-` leaves no stream at all: what would be written there is dropped."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the whole run


def _carried_out(arguments: Sequence[str], program: click.Group) -> int:
    try:
        extra = context_settings(program, terminal=sys.stdout.isatty())
        with program.make_context("footnote", list(arguments), **extra) as context:
            return int(program.invoke(context) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_code
    except click.ClickException as error:
        context_of_error = getattr(error, "ctx", None)
        path = context_of_error.command_path if context_of_error else "footnote"
        message = " ".join(error.format_message().split()).rstrip(".")
        raise UsageError(f"{message}; see {path} --help") from error


def _unexpected(error: Exception, as_json: bool, streams: bool) -> int:
    if os.environ.get("FOOTNOTE_DEBUG"):
        # Only who debugs Footnote itself needs it.
        import traceback

        traceback.print_exception(error)
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    failure = FootnoteError(f"unexpected {reason}; set FOOTNOTE_DEBUG=1 to see where")
    with contextlib.suppress(OSError, ValueError):
        _report(failure, as_json, streams)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return failure.exit_code
    _let_go_of_output()
    return failure.exit_code


def _report(error: FootnoteError, as_json: bool, streams: bool) -> None:
    """One line on standard error; for programs one object there, and the last event of a stream."""
    if not as_json:
        sys.stderr.write(visible(f"footnote: {error}") + "\n")
        sys.stderr.flush()
        return
    if streams:
        with contextlib.suppress(OSError):
            sys.stdout.write(dumps({"event": "error", **error_object(error)}) + "\n")
            sys.stdout.flush()
    sys.stderr.write(dumps(error_object(error)) + "\n")
    sys.stderr.flush()


def _let_go_of_output() -> None:
    """Nobody reads on: what is still buffered goes nowhere, instead of into a message at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
