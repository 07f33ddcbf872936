"""The instruments of Prometheus: their names, help texts, labels and buckets.

Names are OpenTelemetry's if it defines one
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/), else `plumbline_…`.

The modes of gauges say what several processes of a server tell together: the sum, or the worst.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 30.0),
)
PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Bounds of the histograms of seconds and of scores; an objective's threshold is one of them."""
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MODEL = "gen_ai_request_model"

requests = Histogram(
    "http_server_request_duration_seconds",
    "From the first byte of a request to the last of its response.",
    ["http_request_method", "http_route", "http_response_status_code", "error_type"],
    buckets=SECONDS,
)
questions = Counter(
    "plumbline_questions",
    "Searches, answers and tasks of chat UIs by how they ended: found, answered, the reason to"
    " abstain, the kind of the task, the error.",
    ["operation", "outcome", "tenant"],
)
variants = Counter(
    "plumbline_variant_questions",
    "Questions by the variant of the pipeline that worked for them, and how they ended: ok,"
    " abstained, refused, failed, hung_up.",
    ["variant", "outcome"],
)
variant_available = Gauge(
    "plumbline_variant_available",
    "1 where a variant could be built, 0 where not.",
    ["variant"],
    multiprocess_mode="livemin",
)
shadows = Counter(
    "plumbline_shadows",
    "Questions that a variant answered besides, for nobody: answered, failed, dropped.",
    ["outcome"],
)
rollout_decisions = Counter(
    "plumbline_rollout_decisions",
    "What became of rollouts by themselves: advance, promote, roll_back.",
    ["action"],
)
rollouts_frozen = Gauge(
    "plumbline_rollouts_frozen",
    "1 while canaries do not grow: an error budget is spent, or not known.",
    multiprocess_mode="livemax",
)
under_way = Gauge(
    "plumbline_questions_under_way",
    "Searches, answers and tasks that have not ended.",
    multiprocess_mode="livesum",
)
queued = Gauge(
    "plumbline_questions_waiting",
    "Questions that wait for a place.",
    ["class"],
    multiprocess_mode="livesum",
)
waits = Histogram(
    "plumbline_question_wait_seconds",
    "What questions waited for a place.",
    ["class"],
    buckets=SECONDS,
)
stages = Histogram(
    "plumbline_stage_duration_seconds",
    "What a stage took of a question.",
    ["stage"],
    buckets=SECONDS,
)
degraded = Counter("plumbline_degraded", "Questions that a stage had to be left out of.", ["stage"])
routes = Counter(
    "plumbline_routes",
    "Answers by route, and by the route that wrote their beginning and was left.",
    ["route", "escalated_from"],
)
markers = Counter(
    "plumbline_citations",
    "Markers of answers: those that hold, and those taken out as unsupported.",
    ["outcome"],
)
claims = Counter(
    "plumbline_claims",
    "Sentences of language models: supported, marked, rewritten, replaced, removed.",
    ["outcome"],
)
first_token = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "From the prompt to the first piece of the text.",
    [_MODEL],
    buckets=FIRST_TOKEN,
)
per_token = Histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "Of each token after the first.",
    [_MODEL],
    buckets=PER_TOKEN,
)
tokens = Counter(
    "gen_ai_client_token_usage", "Tokens through language models.", ["gen_ai_token_type", "tenant"]
)
batches = Histogram(
    "plumbline_batch_items", "Items that went through a model together.", ["model"], buckets=_ITEMS
)
waiting = Gauge(
    "plumbline_batch_waiting",
    "Items that wait for a model.",
    ["model", "priority"],
    multiprocess_mode="livesum",
)
cached = Counter("plumbline_cache_lookups", "Texts looked up in a cache.", ["cache", "result"])
model_cache_failures = Counter(
    "plumbline_model_cache_failures", "Failed calls of the cache of models' results."
)
answer_cache = Counter(
    "plumbline_answer_cache",
    "Questions by what the answer cache had: exact, semantic, joined (the answer to the same one,"
    " which was under way), miss, bypassed; failed: it could not be read or written.",
    ["result"],
)
documents = Counter(
    "plumbline_documents",
    "Documents this process is done with, by outcome.",
    ["outcome", "tenant"],
)
cost = Counter(
    "plumbline_cost",
    "What language models cost, in the currency of the settings' prices.",
    ["purpose", "tenant"],
)
scores = Histogram(
    "plumbline_score",
    "Scores of live answers, 0 to 1, of a sampled share.",
    ["score"],
    buckets=SHARES,
)
scored = Counter(
    "plumbline_answers_scored",
    "Answers that were to be scored: scored, failed, or postponed.",
    ["outcome"],
)
judged = Counter(
    "plumbline_judgements", "Answers a language model judged: scored, failed.", ["outcome"]
)
feedback = Counter("plumbline_feedback", "What people said of answers: up, down.", ["rating"])
traces = Counter(
    "plumbline_traces", "Traces: sent, left out by the rate, or lost on the way.", ["outcome"]
)
spans = Counter("plumbline_spans", "Spans of traces: sent, or lost on the way.", ["outcome"])
sent_scores = Counter(
    "plumbline_scores_sent", "Scores for Langfuse: sent, or lost on the way.", ["outcome"]
)
kept = Counter(
    "plumbline_answers_kept",
    "Answers for feedback and scores: in the catalog, or lost on the way there.",
    ["outcome"],
)
limited = Counter("plumbline_limited", "Requests refused by a limit of their caller.", ["limit"])
limits_unavailable = Counter(
    "plumbline_limits_unavailable",
    "Decisions without the store of the limits: open, closed, or not settled.",
    ["unit", "decision"],
)
budgets = Counter(
    "plumbline_budget",
    "Requests past the warning level of a budget, and requests refused by it.",
    ["level", "tenant"],
)
usage_rows = Counter(
    "plumbline_usage_rows",
    "Rows of the ledger: written, lost on the way, interrupted by the end of their process.",
    ["outcome"],
)
outliers = Counter(
    "plumbline_usage_outliers", "Requests that cost many times their tenant's median.", ["tenant"]
)
webhook_messages = Counter(
    "plumbline_webhook_messages",
    "Attempts to send messages to webhooks: delivered, retried, given up, or dropped unsent.",
    ["outcome"],
)
audit_rows = Counter(
    "plumbline_audit_rows", "Rows of the audit log: written, or lost on the way.", ["outcome"]
)
batch_lines = Counter(
    "plumbline_batch_lines",
    "Lines of batches: done, failed, invalid, postponed by a limit, retried.",
    ["outcome"],
)
notice_failures = Counter(
    "plumbline_stop_notice_failures", "Looks at server.stop_notice_url that failed."
)
synthetic_runs = Counter(
    "plumbline_synthetic_runs", "Runs of the synthetic canary: succeeded, failed.", ["outcome"]
)
synthetic_steps = Histogram(
    "plumbline_synthetic_step_duration_seconds",
    "What a step of the synthetic canary took.",
    ["step"],
    buckets=SECONDS,
)
synthetic_success = Gauge(
    "plumbline_synthetic_last_success_timestamp_seconds",
    "When the synthetic canary last succeeded in this process; 0: not yet.",
    multiprocess_mode="livemax",
)
synthetic_interval = Gauge(
    "plumbline_synthetic_interval_seconds",
    "Seconds from one run of the synthetic canary to the next, by the settings; 0: none runs.",
    multiprocess_mode="livemax",
)
replica_requests = Counter(
    "plumbline_replica_requests",
    "Requests to replicas of a model's server, by what they were sent for and how they ended.",
    ["replica", "kind", "outcome"],
)
replica_in_flight = Gauge(
    "plumbline_replica_requests_in_flight",
    "Requests that a replica works on for us.",
    ["replica"],
    multiprocess_mode="livesum",
)
replica_tokens = Gauge(
    "plumbline_replica_tokens_in_flight",
    "Tokens of those requests, estimated: prompts, and answers of the greatest length.",
    ["replica"],
    multiprocess_mode="livesum",
)
replica_ready = Gauge(
    "plumbline_replica_ready",
    "Whether a replica is up and has the model.",
    ["replica"],
    multiprocess_mode="livemin",
)
replica_ejected = Gauge(
    "plumbline_replica_ejected",
    "Whether a replica gets no requests because it failed or was far slower than the others.",
    ["replica"],
    multiprocess_mode="livemax",
)
replica_waiting = Gauge(
    "plumbline_replica_waiting",
    "Requests in the queue of a replica's engine.",
    ["replica"],
    multiprocess_mode="livemax",
)
replica_kv_cache = Gauge(
    "plumbline_replica_kv_cache_usage",
    "Share of its KV cache that is in use.",
    ["replica"],
    multiprocess_mode="livemax",
)
replica_preemptions = Gauge(
    "plumbline_replica_preemptions",
    "Requests that its engine took out of its KV cache, since the engine's start.",
    ["replica"],
    multiprocess_mode="livemax",
)
replica_prefix = Gauge(
    "plumbline_replica_prefix_tokens",
    "Prompt tokens since its engine's start: looked up in its prefix cache, and found there.",
    ["replica", "result"],
    multiprocess_mode="livemax",
)
gpus_known = Gauge(
    "plumbline_gpus_known",
    "1 while the state of a process's GPUs is known, 0 if not.",
    ["source"],
    multiprocess_mode="livemin",
)
gpu_healthy = Gauge(
    "plumbline_gpu_healthy", "1 while a GPU has no fault.", ["gpu"], multiprocess_mode="livemin"
)
gpu_celsius = Gauge(
    "plumbline_gpu_temperature_celsius",
    "Temperature of a GPU's die.",
    ["gpu"],
    multiprocess_mode="livemax",
)
gpu_memory = Gauge(
    "plumbline_gpu_memory_total_bytes", "Memory of a GPU.", ["gpu"], multiprocess_mode="livemax"
)
gpu_memory_used = Gauge(
    "plumbline_gpu_memory_used_bytes", "What is in use of it.", ["gpu"], multiprocess_mode="livemax"
)
gpu_watts = Gauge(
    "plumbline_gpu_power_watts", "Power that a GPU draws.", ["gpu"], multiprocess_mode="livemax"
)
gpu_ecc = Gauge(
    "plumbline_gpu_ecc_errors",
    "Uncorrected ECC errors since the driver was loaded.",
    ["gpu"],
    multiprocess_mode="livemax",
)
gpu_slowed = Gauge(
    "plumbline_gpu_slowed",
    "1 while a GPU's clocks are low for this reason.",
    ["gpu", "reason"],
    multiprocess_mode="livemax",
)
gpu_xids = Counter("plumbline_gpu_xids", "XIDs that the driver reported of a GPU.", ["gpu", "xid"])
