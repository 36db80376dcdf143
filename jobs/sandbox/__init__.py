"""The practice Responses API: a process of its own that answers, bills and fails as OpenAI's would.

    python -m jobs.sandbox --port N --data FILE.sqlite3 [--host 127.0.0.1] [--speed 60] [--today YYYY-MM-DD]
        [--webhook-url URL --webhook-secret whsec_BASE64] [--webhook-fault drop|duplicate|reorder|delay:N]

Address and secret of the webhook are also read from SANDBOX_WEBHOOK_URL and SANDBOX_WEBHOOK_SECRET.

It imports nothing of the dashboard. It prints `ready http://HOST:PORT/v1` when it listens (port 0 takes a
free one) and ends within a second of SIGTERM. What it accepted is committed before the answer leaves; the
state of a response is computed from the time, so a restart changes nothing. `--speed` makes durations
shorter, 1 to 1,000 times; at the default of 60 a high-effort job takes 6 s, and 99.9 % take under 30 s.
`--today` is the day that chooses prices, shutdowns and days of the bill; timestamps stay real.

**Keys**: any bearer key but those that begin with `sk-bad` (401). /v1/organization/costs wants one that
begins with `sk-admin`. The header OpenAI-Project names the project on the bill.

**Directives** stand anywhere in instructions or in a user's, system's or developer's text:
`[[sandbox: key=value key="a value"]]`. A quoted value is a JSON string. A misspelt key is a 400.

================== =====================================================================================
seconds=N          real seconds from acceptance to the end, whatever the speed
outcome=           completed, incomplete, refusal, failed, cancelled (by itself), stuck (never ends) or
                   function_call. A named outcome is not held to max_output_tokens
reason=            of an incomplete one: max_output_tokens, content_filter, max_messages, steered
code=              of a failed one, or of the error that `http` answers; default server_error
usage=             `none`: never shown, yet billed. `full`: shown also when failed or cancelled
reasoning=N        reasoning tokens; answer_tokens=N, input=N, cached=N fix the rest of the usage
late_usage=N       usage stays null for N seconds after the end
status=WORD        shown in place of in_progress
missing=N          GET answers 404 for the first N seconds
tier=              the service tier reported, and billed, at the end
cancelled_then=completed   a cancelled response becomes completed after=N seconds (default 2)
cancel=ignored     a cancel is answered and changes nothing
http=              the POST is refused: 307 400 401 403 404 405 408 409 429 429_quota 500 502 503, and
                   403_plain, 404_plain without an OpenAI error. retry_after=N sets that header
fault=             reset_before (nothing accepted), reset_after, garbage, hang (accepted and committed
                   first; hang=N seconds, default 600)
times=N            http, fault, outcome, status and missing hold for the first N POSTs of this text only
answer="..."       the answer's text
calls=N            the response stops for N calls of its functions; approvals=N, for N calls of its MCP
                   server: one that is approved comes back as an mcp_call
searches=N         web searches, at most max_tool_calls: the input is charged N + 1 times, each has its fee
window=refused     a completion window other than soonest is refused, as for a model that has none
webhook=           drop, duplicate, reorder, delay:N; several joined by commas
================== =====================================================================================

**For tests**, without a key:

- POST /sandbox/faults: any of `down` (every connection to /v1 is reset), `http`, `post_http`, `get_http`
  (words as above), `retry_after`, `post_delay` and `get_delay` (seconds, before anything happens). Those not
  named stay as they are.
- GET /sandbox/log: `responses` (id, created_at, cancelled_at, deleted_at, metadata, `files` = type,
  media_type, detail, bytes and sha256 of each picture and file, status, `posts` = POSTs with the same text,
  `gets`, `cancels`, `bill` or null until it is due) and `posts` (at, result, response_id, metadata; `result`
  is accepted, reset_before or the HTTP status). Both survive a kill, gets and cancels not.
- POST /sandbox/bill: with `response_id`, what it is billed differs: `factor` times as much, `days` later, or
  rounded to `places`. With `add` (line_item, quantity, amount, project_id, api_key_id), someone else's line.
- GET /sandbox/stats: posts, gets, cancels, deletes, counts (input_tokens), others, max_concurrent,
  max_concurrent_posts; since the start or the last reset.
- POST /sandbox/reset: forget all of it.

The **bill** is the truth a client can reconcile with: failed responses are free unless `usage=full`,
cancelled ones cost the share that was made, and hidden or late usage is billed all the same.
"""
