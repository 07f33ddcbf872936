"""Recognises questions that are answered by yes or no."""

from __future__ import annotations

import re

COURTESY = re.compile(
    r"^(?:(?:hi|hello|hey|please|ok|so|and|well)\b[,!. ]*)+"
    r"|\b(?:(?:can|could|would) you (?:please )?(?:tell me|say|explain)|do you know|tell me"
    r"|i(?:'d| would) like to know|i want to know|does anyone know|i wonder)\b[,:]?"
    r"|\b(?:please|thanks|thank you)(?: (?:a lot|very much|in advance))*\b"
    r"|\b(?:bitte|danke|können sie mir sagen|kannst du mir sagen|weißt du|wissen sie)\b[,:]?",
    re.IGNORECASE,
)
"""Words of a question that ask for nothing."""
CLOSED = re.compile(
    r"\W*(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|shall|should|may|might"
    r"|must|ist|sind|war|waren|hat|haben|hatte|hatten|wird|werden|wurde|wurden"
    r"|kann|können|darf|dürfen|muss|müssen|soll|sollen|wo(?=n['’]t))(?:n['’]t)?\b",
    re.IGNORECASE,
)
"""Begins a question that is answered by yes or no."""
_ASKING = re.compile(
    r"\b(?:what|when|where|which|who|whom|whose|why|how"
    r"|was|wann|wo(?:hin|her|für|durch|mit|bei|gegen|nach|von|zu|r(?:an|auf|aus|in|über|um|unter))?"
    r"|wer|wem|wen|wessen|wie(?:so|viele?)?|warum|weshalb|welche[mnrs]?"
    r"|quoi|quand|où|quel(?:le)?s?|qui|que|pourquoi|comment|combien"
    r"|qué|cuándo|dónde|cuál(?:es)?|quién(?:es)?|cómo|cuánt[oa]s?)\b",
    re.IGNORECASE,
)


def asks_yes_or_no(question: str) -> bool:
    """True for a question that begins with an auxiliary verb, or has no question word.

    "Zahlen Mitglieder nicht?" is one, "Name a city that is not old." is none.
    """
    text = COURTESY.sub(" ", question).strip()
    return bool(CLOSED.match(text)) or (text.endswith("?") and not _ASKING.search(text))
