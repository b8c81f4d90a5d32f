"""What a customer does, with a client that was generated from the description."""

import sys
import time

from skyclaw_public import AuthenticatedClient
from skyclaw_public.api.public import get_public_job, submit_public_job
from skyclaw_public.models import (
    AgentPayload,
    AgentPayloadKind,
    Error,
    JobAnswer,
    JobRequest,
    JobStatus,
    ShellPayload,
    ShellPayloadKind,
    ToolPolicy,
)

PATIENCE_S = 60

url = sys.argv[1]
client = AuthenticatedClient(base_url=url, token="k1")

# A job, submitted once although it is sent twice.
request = JobRequest(
    payload=ShellPayload(
        kind=ShellPayloadKind.SHELL,
        command="sh",
        args=["-c", "echo hello; echo why >&2; exit 3"],
        timeout_ms=30_000,
    )
)
answer = submit_public_job.sync(client=client, body=request, x_idempotency_key="one")
assert isinstance(answer, JobAnswer), answer
again = submit_public_job.sync(client=client, body=request, x_idempotency_key="one")
assert isinstance(again, JobAnswer) and again.job.id == answer.job.id, again

deadline = time.monotonic() + PATIENCE_S
while True:
    answer = get_public_job.sync(answer.job.id, client=client)
    assert isinstance(answer, JobAnswer), answer
    job = answer.job
    if job.status in (JobStatus.COMPLETED, JobStatus.FAILED):
        break
    assert time.monotonic() < deadline, job
    time.sleep(0.1)
assert job.status == JobStatus.FAILED, job
assert (job.result.exit_code, job.result.stdout, job.result.stderr) == (3, "hello\n", "why\n"), job


def refused(response, status, words):
    assert response.status_code == status, response
    assert isinstance(response.parsed, Error), response
    assert words in response.parsed.error, response


# Errors have a type, too.
other = JobRequest(payload=ShellPayload(kind=ShellPayloadKind.SHELL, command="true"))
send = submit_public_job.sync_detailed
refused(send(client=client, body=other, x_idempotency_key="one"), 409, "idempotency key")
wrong = ShellPayload(kind=ShellPayloadKind.SHELL, command="")
refused(send(client=client, body=JobRequest(payload=wrong)), 400, "payload.command")
stranger = AuthenticatedClient(base_url=url, token="none")
refused(send(client=stranger, body=request), 401, "invalid api key")
less = AuthenticatedClient(base_url=url, token="k2")
refused(send(client=less, body=request), 403, "shell jobs are not allowed")
agent = AgentPayload(
    kind=AgentPayloadKind.OPENCLAW_AGENT, message="hello", tool_policy=ToolPolicy.FULL
)
refused(send(client=less, body=JobRequest(payload=agent)), 403, "tools")
refused(get_public_job.sync_detailed(job.id, client=less), 404, "job not found")

print("the customer is content")
