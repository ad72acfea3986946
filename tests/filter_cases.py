"""Documents, and which of them pass which filters."""

from __future__ import annotations

DAY_NS = 86_400 * 10**9

FILES = {
    "/home/me/notes/bridge.md": (
        "---\ntags: [Steel, bridges]\nauthor: Clara\ndate: 2024-03-05\n---\nA bridge of steel.\n"
    ),
    "/home/me/notes/2024/canal.md": "---\ntags: water\nauthor: Émile\n---\nA canal of water.\n",
    "/home/me/notes 2/100%.txt": "A hundred percent of water.\n",
    "/home/me/Straße/ship.txt": "A ship on the water.\n",
}

EVERYTHING = {"bridge", "canal", "100%", "ship", "pasted"}

CASES: list[tuple[list[str], set[str]]] = [
    ([], EVERYTHING),
    (["tag=steel"], {"bridge"}),
    (["tag=#STEEL"], {"bridge"}),
    (["tag=steel", "tag=water"], {"bridge", "canal"}),
    (["tag=stee"], set()),
    (["author=clara"], {"bridge"}),
    (["Author=E\u0301MILE"], {"canal"}),
    (["author=clara", "tag=water"], set()),
    (["path=/home/me/notes"], {"bridge", "canal"}),
    (["path=/home/me/notes/"], {"bridge", "canal"}),
    (["path=/home/me/notes/bridge.md"], {"bridge"}),
    (["path=/home/me/note"], set()),
    (["path=/"], {"bridge", "canal", "100%", "ship"}),
    (["path=file:///home/me/notes%202"], {"100%"}),
    (["path=notes"], {"bridge", "canal"}),
    (["path=notes/2024"], {"canal"}),
    (["path=2024/"], {"canal"}),
    (["path=otes"], set()),
    (["path=notes 2"], {"100%"}),
    (["path=100%.txt"], {"100%"}),
    (["path=Straße"], {"ship"}),
    (["path=upload:abc"], {"pasted"}),
    (["path=upload:abc/Pasted%20text.txt"], {"pasted"}),
    (["path=notes", "path=ship.txt"], {"bridge", "canal", "ship"}),
    (["path=\udcff"], set()),
    (["path=\ud800", "title=\ud800", "tag=\ud800"], set()),
    (["title=SHIP"], {"ship"}),
    (["title=ri", "title=ana"], {"bridge", "canal"}),
    (["since=2024-03-05", "until=2024-03-05"], {"bridge"}),
    (["since=2024", "until=2024-02"], set()),
    (["until=2024-10-05"], {"bridge", "canal"}),
    (["since=2024-10-06", "until=2024-10-07"], {"100%", "ship"}),
    (["since=2025"], {"pasted"}),
    (["date=2024-03-05"], {"bridge"}),
]
