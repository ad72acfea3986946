"""Questions of any Unicode text, 10,000 by default: each is answered or refused, and none is a 5xx.

python tests/bench/any_question.py 10000
"""

from __future__ import annotations

import collections
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from asked_server import ANSWER, QUESTION, small_settings, small_state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import BASE
from starlette.testclient import TestClient

from server.app import create_app


def main(count: int) -> int:
    statuses: collections.Counter[int] = collections.Counter()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        small_state(small_settings(Path(folder))) as state,
        TestClient(create_app(state), base_url=BASE) as client,
    ):

        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(question=st.text(), is_chat=st.booleans())
        def ask(question: str, is_chat: bool) -> None:
            path = "/v1/chat/completions" if is_chat else "/api/ask"
            body = (
                {"messages": [{"role": "user", "content": question}]} if is_chat else {"question": question}
            )
            data = json.dumps(body).encode()
            response = client.post(path, content=data, headers={"content-type": "application/json"})
            statuses[response.status_code] += 1
            assert response.status_code in {200, 400}, (question, response.text)

        ask()
        assert client.post("/api/ask", json={"question": QUESTION}).json()["answer"] == ANSWER
    print(json.dumps({"statuses": statuses, "seconds": round(time.monotonic() - began)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
