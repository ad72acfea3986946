"""The leaves that answering adds to the tree of `index.errors`.

FootnoteError
├── UsageError
│   └── QuestionError         400  exit 2   empty, or not words
│       └── QuestionTooLong   400           longer than the limit that the message names
├── ServerUnreachable         502  exit 1   nothing answers there, or not as footnote serve does
└── ModelError
    ├── WorkerFailed          502  exit 4   the model's process died, hung or could not start
    └── GenerationCancelled   499  exit 130 the asker went away
"""

from __future__ import annotations

from index.errors import FootnoteError, ModelError, UsageError


class QuestionError(UsageError):
    code = "invalid_question"


class QuestionTooLong(QuestionError):
    code = "context_length_exceeded"


class ServerUnreachable(FootnoteError):
    status = 502
    code = "server_unreachable"


class WorkerFailed(ModelError):
    status = 502
    code = "model_worker_failed"


class GenerationCancelled(ModelError):
    status = 499
    exit_code = 130
    code = "cancelled"
