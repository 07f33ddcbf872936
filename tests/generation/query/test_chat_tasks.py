"""Which prompts are tasks of chat UIs, and what they get."""

from __future__ import annotations

import pytest

from generation.query.chat_tasks import task_of
from generation.query.task_writer import TaskWriter, harmless
from rag.errors import UpstreamError
from rag.telemetry.trace import Trace
from rag.types import ChatTaskKind, Message
from tests.fakes import ScriptedModel

DEPOT = "When does the depot close?"


def user(text: str) -> Message:
    return Message(role="user", content=text)


def system(text: str) -> Message:
    return Message(role="system", content=text)


CHAT = [user(DEPOT), Message(role="assistant", content="At four.")]
SHOWN = f"\n<chat_history>\nUSER: {DEPOT}\nASSISTANT: At four.\nUSER: And in May?\n</chat_history>"
NEXTCHAT = (
    "Please generate a four to five word title summarizing our conversation without any lead-in,"
    " punctuation, quotation marks, periods, symbols, bold text, or additional text."
)
LOBE = (
    "You are a professional conversation summarizer. Generate a concise title that captures the"
    " essence of the conversation.\n\nRules:\n- Output ONLY the title text"
)
OLD_TITLE = "Create a concise, 3-5 word title with an emoji as a title for the chat history."
LIBRE = "Provide a concise, 5-word-or-less title for the conversation. Only return the title."
EMOJI = "Your task is to reflect the speaker's likely facial expression through a fitting emoji.\n"
ALONE = (
    "Given the following conversation and a follow up question, rephrase the follow up question to"
    f" be a standalone question.\n\nChat History:\nHuman: {DEPOT}\nAI: Four.\n"
    "Follow Up Input: And in May?\nStandalone question:"
)
TOOLS = 'Available Tools: [{}]\nReturn only JSON. If none match:\n{ "tool_calls": [] }'
NAME = "Based on the chat history, give this conversation a name. Keep it short, no quotes."
SESSION = "Summarize the given session as a 10-word title using user language, ignoring commands."
HUGGING = "Summarize the user's request into a single short sentence of four words or less."
GERMAN = "Bitte generieren Sie einen kurzen Titel aus vier bis fünf Wörtern für unsere Unterhaltung"
CHINESE = '使用四到五个字直接返回这句话的简要主题、不要解释、如果没有主题、请直接返回"闲聊"'
TITLE = "When does the depot close"


@pytest.mark.parametrize(
    ("messages", "kind", "result"),
    [
        ([user(OLD_TITLE + SHOWN)], "title", TITLE),
        ([*CHAT, user(NEXTCHAT)], "title", TITLE),
        ([*CHAT, user(GERMAN)], "title", TITLE),
        ([*CHAT, user(CHINESE)], "title", TITLE),
        ([*CHAT, user(NAME)], "title", TITLE),
        ([system(LOBE), user(f"user: {DEPOT}\nassistant: Four.")], "title", TITLE),
        ([system(HUGGING), user(DEPOT)], "title", TITLE),
        ([user(f"{LIBRE}\n\nConversation:\nUser: {DEPOT}\nAI: Four.")], "title", TITLE),
        ([system(SESSION), user(DEPOT)], "title", TITLE),
        ([user(f"User: {DEPOT}\nAI: {'Four. ' * 500}\n\n{LIBRE}")], "title", TITLE),
        ([user(EMOJI)], "emoji", "\N{SPEECH BALLOON}"),
        ([user(ALONE)], "standalone_question", "And in May?"),
        ([system(TOOLS), user(f"Query: {DEPOT}")], "tool_calls", '{"tool_calls": []}'),
    ],
)
def test_tasks(messages: list[Message], kind: ChatTaskKind, result: str) -> None:
    task = task_of(messages)
    assert task is not None
    assert (task.kind, harmless(task)) == (kind, result)


@pytest.mark.parametrize(
    "question",
    [
        DEPOT,
        "What title does the handbook give to chapter 3?",
        "Give me the title of the conversation guide",
        "Generate a short list of the titles that the chat team holds",
        "Which tags does the warehouse use for messages?",
        "Suggest follow-up questions for the exit interview, please",
        "How many words may the title of a session have?",
        "Create a title for a poster about the depot",
        "What does the ticket say?\nuser: smith\nrole: admin",
        "Write a short summary of the discussion in the minutes of May",
        'What is the default of "title": "" in the JSON of the API?',
        'Why does this fail?\nuser: bob\n{"title": "Mr", "tags": ["a"]}',
        "user: smith\nWrite a title for the ticket.",
        "### Task:\nRespond to the user query using the provided context.\n<context>x</context>",
        "x " * 5000 + "Generate a concise title of the conversation.",
    ],
)
def test_questions(question: str) -> None:
    assert task_of([user(question)]) is None
    assert task_of([*CHAT, user(question)]) is None


@pytest.mark.parametrize(
    "rules",
    [
        "You are the assistant of the Land Title Office. Keep the conversation short.",
        "You are a helpful assistant. Suggest 3 short follow-up questions after each message.",
        'Answer in JSON only, and the chat is about trains: {"title": "x", "answer": "y"}',
    ],
)
def test_rules_for_answers_are_no_task(rules: str) -> None:
    assert task_of([system(rules), user(DEPOT)]) is None


def test_a_client_may_name_its_task() -> None:
    task = task_of([user(DEPOT)], named="query_generation")
    assert task is not None
    assert (task.kind, harmless(task)) == ("search_queries", DEPOT)
    assert task_of([user(DEPOT)], named="moa") is None


@pytest.mark.parametrize("part", ["\n", "user:", '"', '"titletitle', "  \n", "# ", "<chat>"])
@pytest.mark.timeout(60)
def test_a_prompt_of_any_form_takes_linear_time(part: str) -> None:
    task_of([user(part * (1_000_000 // len(part)))])


@pytest.mark.anyio
async def test_a_model_does_it_and_its_failure_does_no_harm() -> None:
    task = task_of([*CHAT, user(NEXTCHAT)])
    assert task is not None
    model, trace = ScriptedModel("Depot hours"), Trace()
    assert (await TaskWriter(model).write(task, trace)).text == "Depot hours"
    assert [span.name for span in trace.spans] == ["task"]
    failed = await TaskWriter(ScriptedModel(UpstreamError("It is away."))).write(task, Trace())
    assert (failed.text, failed.degraded) == (TITLE, ("task: It is away.",))
