"""The command line: what can be typed, and what it means for the settings.

Click gives the parsing and the help. The commands themselves stand in `rag.commands`. That module, the
settings and the screen bring FAISS, pydantic and Rich with them: they are imported where they are used
("heavy"), so that `--help`, `--version` and a typing error cost a tenth of a second.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from index.errors import UsageError
from rag.carry_out import HELP_WIDTH, carry_out, context_settings
from rag.collection_cli import collection_group
from rag.eval_options import MODEL_HELP
from rag.eval_options import OPTIONS as EVAL_OPTIONS

if TYPE_CHECKING:
    from rag.config import Settings
    from rag.present import Screen
    from rag.types import Mode

Command = TypeVar("Command", bound=Callable[..., Any])

_EXIT_CODES = """\b
Exit codes:
  0 answered, or done      1 failure        2 not usable as typed
  3 collection             4 model          5 the documents do not answer it
  130 interrupted"""


def _together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, listed in the help in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _show_version(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if not is_wanted or context.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version  # a sixth of what --help takes

    try:
        found = version("footnote")
    except PackageNotFoundError:
        found = "(not installed)"  # run from the source folder
    click.echo(f"footnote {found}")
    context.exit()


_HOME = click.option(
    "--home", type=click.Path(path_type=Path), metavar="FOLDER", help="Where collections and models are kept."
)
_OFFLINE = click.option("--offline", is_flag=True, help="Never try the network.")
_COLLECTION = click.option(
    "-c",
    "--collection",
    metavar="NAME|FOLDER|URL",
    help="The collection: a name, a folder when it has a slash in it, or the URL of a database."
    "  [default: default]",
)
_PLACES = _together(_COLLECTION, _HOME)
_QUOTE = click.option(
    "-q", "--quote", is_flag=True, help="Answer with the documents' own sentences; no model runs."
)
_TOP = click.option(
    "-n", "--top", type=click.IntRange(1, 50), metavar="N", help="Number of sources to look at."
)
FILTER = click.option(
    "-f",
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Look only at documents with this id, path, title, tag, since or until, or what they say of "
    "themselves: author=…; may be given again.",
)
_MODEL = click.option("-m", "--model", metavar="NAME|FILE|URL", help=MODEL_HELP)
_ANSWERING = _together(_QUOTE, _TOP, _MODEL, _COLLECTION, _OFFLINE, _HOME)
SERVING = _together(_QUOTE, _MODEL, _COLLECTION, _OFFLINE, _HOME)
"""What `footnote serve`, which is declared above this package, has in common with the others."""

API_KEY_VARIABLE = "FOOTNOTE_API_KEY"
API_KEY_FILE = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"File with the server's key; or set {API_KEY_VARIABLE}.",
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": HELP_WIDTH},
    epilog=_EXIT_CODES,
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
def cli() -> None:
    """Answers from your own documents, on your own machine.

    Every sentence of an answer carries a footnote to the exact characters that support it; what the
    documents do not support is not said.

    \b
      footnote index ~/notes
      footnote ask "Where did they meet?"
    """


@cli.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-w", "--watch", "follows", is_flag=True, help="Then follow the paths until Ctrl-C.")
@click.option("--ray", metavar="ADDRESS", help="Work on a Ray cluster: local, auto or HOST:PORT.")
@_PLACES
@_OFFLINE
def index(paths: tuple[Path, ...], follows: bool, ray: str | None, **flags: Any) -> int:
    """Index files and folders, or bring what is indexed up to date.

    Reads text, Markdown, HTML, PDF and DOCX. Folders are walked; hidden files and what .gitignore and
    .footnoteignore name are passed over. Files that have not changed are not read again, and files that have
    vanished from a folder are removed. A file that cannot be read is named with the reason, the others are
    indexed, and the exit code is 1.

    With --watch it goes on and takes what is added, edited, renamed or deleted, once files have stopped
    changing. A folder that vanishes as a whole keeps what was indexed of it.

    With --ray the machines of a cluster read and embed, into a collection in a database. Each has to see the
    files under the same paths.

    Where the settings name an embedder on an endpoint elsewhere, all text is sent there.
    """
    from rag import commands  # heavy

    settings, screen = _ready(flags)
    return commands.index(settings, screen, paths, follows=follows, ray=ray)


@cli.command()
@click.argument("question", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON object.")
@click.option(
    "--stream", "streams", is_flag=True, help="Print each sentence once verified; with --json, events."
)
@FILTER
@_ANSWERING
@click.option("--server", metavar="URL", help="Ask a running footnote serve; nothing is loaded here.")
@API_KEY_FILE
def ask(
    question: tuple[str, ...],
    as_json: bool,
    streams: bool,
    quote: bool,
    top: int | None,
    filters: tuple[str, ...],
    server: str | None,
    api_key_file: Path | None,
    **flags: Any,
) -> int:
    """Answer one question from the collection.

    Without QUESTION, or with -, the question is read from standard input. The answer goes to standard output
    and everything else to standard error. In a terminal sentences appear as they are verified. When the
    documents do not answer the question, it says so, shows the nearest passages, and exits with code 5.
    """
    if as_json and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")  # JSON is UTF-8, whatever the terminal speaks
    mode: Mode = "quote" if quote else "compose"
    if server is not None:
        if flags["model"] is not None:
            raise UsageError("--model cannot be chosen with --server: the server has its own")
        from rag import remote, typed  # heavy

        asked = remote.Asked(
            mode=mode,
            top=top,
            collection=flags.pop("collection"),
            filter=typed.filter_of_words(filters),
        )
        settings, screen = _ready(flags)
        service = remote.Service(server, api_key(api_key_file))
        return remote.ask(
            service,
            screen,
            typed.question_of(settings, screen, question),
            asked,
            as_json=as_json,
            streams=streams,
        )
    from rag import commands, typed  # heavy

    settings, screen = _ready(flags)
    return commands.ask(
        settings,
        screen,
        question,
        mode=mode,
        top=top,
        chosen=typed.filter_of_words(filters),
        as_json=as_json,
        streams=streams,
    )


@cli.command()
@FILTER
@_ANSWERING
def chat(quote: bool, top: int | None, filters: tuple[str, ...], **flags: Any) -> int:
    """Ask question after question, follow-ups included.

    A question may lean on earlier ones: "And where was he born?" is understood.

    /sources shows the sources of the last answer in full, /new forgets the conversation, /help lists what
    can be typed, /quit or Ctrl-D leaves. Ctrl-C stops an answer.
    """
    from rag import commands, typed  # heavy

    settings, screen = _ready(flags)
    chosen = typed.filter_of_words(filters)
    return commands.chat(settings, screen, mode="quote" if quote else "compose", top=top, chosen=chosen)


@cli.command("eval")
@click.argument("gold", metavar="GOLD", type=click.Path(path_type=Path))
@_together(*EVAL_OPTIONS, _OFFLINE, _HOME)
def evaluate(gold: Path, home: Path | None, model: str | None, offline: bool, **typed: Any) -> int:
    """Measure answers against a gold set of questions.

    GOLD's documents are indexed into a collection of their own, kept under HOME/eval, and its questions asked
    as people would ask them. No model judges: metrics compare with gold answers and gold evidence, each with
    its 95 % interval over questions.

    The exit code is 1 when a metric is worse than in the baseline by more than its interval, or beyond its
    --fail-under. Times and tokens are compared too, but fail nothing.

    \b
      footnote eval seeds/gold.jsonl --fail-under citation_exactness=1
      footnote eval --format squad dev.json --limit 300 --sample 1
    """
    from rag import eval_command  # heavy

    settings, screen = _ready({"home": home, "model": model, "offline": offline})
    if typed["as_json"] and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    return eval_command.evaluate(settings, screen, eval_command.options_of(gold, **typed))


@cli.group()
def models() -> None:
    """List, fetch and verify model files."""


@models.command("list")
@_HOME
def models_list(**flags: Any) -> int:
    """List the models of the catalogue and those fetched from the hub.

    A model is verified when its digest was checked since its files last changed.
    """
    from rag import commands  # heavy

    settings, screen = _ready(flags)
    return commands.list_models(settings, screen)


@models.command("pull")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@_HOME
@_OFFLINE
def models_pull(names: tuple[str, ...], **flags: Any) -> int:
    """Fetch models, each checked against its digest.

    NAME is a name of the catalogue or hf:OWNER/REPO/FILE. Without NAME, the chat model and the embedder of
    the settings are fetched. What is there and sound is not fetched again.
    """
    from rag import commands  # heavy

    settings, screen = _ready(flags)
    return commands.pull_models(settings, screen, names)


@models.command("verify")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@_HOME
def models_verify(names: tuple[str, ...], **flags: Any) -> int:
    """Read every byte of models and compare their digests.

    Without NAME, all models that are here. The exit code is 4 when one is damaged.
    """
    from rag import commands  # heavy

    settings, screen = _ready(flags)
    return commands.verify_models(settings, screen, names)


@cli.command()
@click.option("--repair", is_flag=True, help="Make again what can be made again from the catalogue.")
@click.option(
    "--citations",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Check the citations of answers saved with ask --json instead.",
)
@_PLACES
def check(repair: bool, citations: Path | None, **flags: Any) -> int:
    """Check a collection, every part against every other.

    Each finding is a line; the exit code is 3 when one is left. Nothing is changed without --repair.

    With --citations, says of each citation whether its source is as it was; the exit code is 1 where one has
    changed or is gone.
    """
    if citations is not None:
        if repair:
            raise UsageError("--repair mends a collection, and --citations looks at answers: use one of them")
        from rag.citations import check_citations  # heavy

        return check_citations(*_ready(flags), citations)
    from rag import commands  # heavy

    settings, screen = _ready(flags)
    return commands.check_collection(settings, screen, repair=repair)


def _ready(flags: dict[str, Any]) -> tuple[Settings, Screen]:
    """Settings from the flags given, and the screen."""
    from rag.config import load_settings  # heavy

    return load_settings(**given(flags)), open_screen()


cli.add_command(collection_group(_HOME, _ready))


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """Flags of a command as `load_settings` knows them; what was not typed is None."""
    renamed = {"rag__model" if name == "model" else name: value for name, value in flags.items()}
    return {**renamed, "offline": renamed.get("offline") or None}


def api_key(path: Path | None) -> str | None:
    """The key in the file, else in the variable; None without either. Raises UsageError."""
    if path is None:
        return os.environ.get(API_KEY_VARIABLE) or None
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        raise UsageError(f"the file of the API key, {path}, cannot be read: {error}") from error


def open_screen() -> Screen:
    from rag.present import Screen  # heavy

    return Screen(sys.stdout, sys.stderr, colours=not os.environ.get("NO_COLOR"))


def with_commands(*more: click.Command) -> click.Group:
    """The program with commands of a package above this one."""
    program = copy.copy(cli)
    program.commands = {**cli.commands, **{str(command.name): command for command in more}}
    return program


def help_text(*commands: str, program: click.Group = cli) -> str:
    """The help of `footnote` or of one of its commands, as it is printed into a pipe.

    `help_text("models", "pull")` is what `footnote models pull --help` prints.
    """
    context = click.Context(program, info_name="footnote", **context_settings(program, terminal=False))
    command: click.Command = program
    for name in commands:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        if found is None:
            raise UsageError(f"there is no command {name}: see footnote --help")
        command, context = found, click.Context(found, parent=context, info_name=name)
    return command.get_help(context) + "\n"


def run(arguments: Sequence[str], program: click.Group = cli) -> int:
    """Carry out one command line; the exit code. Nothing is raised, whatever happens."""
    return carry_out(arguments, program)


def main() -> NoReturn:
    """The entry point of `python -m rag`: everything but `serve`."""
    sys.exit(run(sys.argv[1:]))
