"""The phrases that LLMs put before, after and in place of an answer. In doubt, a phrase belongs to the answer.

Every pattern is anchored and looks at a bounded stretch of text, so that no input makes one slow.
"""

from __future__ import annotations

import re

_QUOTED = r'(?:"[^"\n]{1,600}+"|“[^”\n]{1,600}+”)'
_RULE = r"(?:[-=*]{3,}+\s*+)?"
_WHICH = (
    r"(?:(?:the|an?|your|my|correct|relevant|answering|possible|final|hypothetical|suitable|short|rewritten|search)\s)"
)
_TEXT = (
    r"(?:passages?|paragraph|answers?|response|abstract|key\s?words?|terms|rationale|rebuttal|counter-?argument|"
    r"rewrite|rewritten\squery)"
)
_QUESTION = r"(?:(?:original|given|user|search)\s)?(?:question|query|statement|claim|topic|argument)(?:/question)?"
_TEXT_LABEL = rf"(?:\d{{1,2}}\.\s)?{_WHICH}{{0,4}}{_TEXT}(?:\s\([^()\n]{{1,40}}\))?(?:\swould\sbe|\sis)?"
_QUESTION_LABEL = rf"{_WHICH}{{0,2}}{_QUESTION}(?:\sis)?"
_ABOUT = rf"(?:given|for|based\son|to\sanswer|regarding)\s(?:the|your)\s{_QUESTION}[:,]?\s{_QUOTED}[,.:]*+\s*+"
_WELL = r"(?:certainly|sure|of\scourse|absolutely|okay|ok|alright|great)\b[!,.:]*+\s*+"
_HERE = r"(?:[,;]\s)?(?:first,?\s)?(?:here(?:['’]s|\sis|\sare)|below\s(?:is|are)|the\sfollowing\s(?:is|are))\b"
_CLAUSE = r'[^"“:.!?\n]'
_YOURS = (
    r"requested|your\s(?:\w+\s)?(?:request|question|query|prompt|statement)|how\s(?:it|this)\s(?:would|could|can|might)"
)
_NEW_SENTENCE = r'(?=\s*+(?:\n|[-=*#>]{2}|(?-i:[A-Z0-9"“])))'

_GREETING = (
    r"(?:(?:certainly|sure(?:\sthing)?|of\scourse|absolutely|okay|ok|alright|great(?:\squestion)?|no\sproblem)!"
    r"|(?:certainly|sure|of\scourse|absolutely)\.(?=\s)"
    r"|i(?:['’]d|\swould)\sbe\s(?:happy|glad)\sto\shelp\b[^.!?:\n]{0,80}+[.!])\s*+"
)
_ANNOUNCEMENT = (  # Sure, here is a passage for the query "...":
    rf"(?:{_WELL})?(?:{_ABOUT})?{_HERE}(?={_CLAUSE}{{0,120}}\b(?:{_TEXT}|{_YOURS})\b)(?:"
    rf"(?-i:[^A-Z\"“:.!?\n]{{1,120}}+[.!])(?=\s)|"  # a sentence of its own, without a name that could be the answer's
    rf"(?:{_CLAUSE}|[.!?](?=\w)){{1,200}}+(?:[:\n]|{_QUOTED}(?:{_CLAUSE}{{0,60}}+[:\n]|[.,:!?]*+{_NEW_SENTENCE}))|"
    rf"{_CLAUSE}{{1,200}}?\b{_QUESTION}[:,]?\s{_QUOTED}[.,:!?]*+)\s*+"
)
_FRAME = (  # Question: ... Correct passage:
    rf"(?:{_QUESTION_LABEL}:\s*+(?s:.{{1,400}}?)|{_ABOUT}|{_QUOTED}[.,:]*+)\s*+{_RULE}(?<!\w){_TEXT_LABEL}\s?:\s*+"
)
_LABEL = rf"(?:{_TEXT_LABEL}|{_QUESTION_LABEL})\s?[:\n]\s*+"

_LEAD_INS = [re.compile(pattern, re.IGNORECASE) for pattern in (_GREETING, _ANNOUNCEMENT, _FRAME, _LABEL)]

_OFFER = re.compile(
    r"(?:(?<=\s)Let me know (?:if|whether|what)|"
    r"(?:(?<=[.!?:…\"”’)\]*-]\s)|(?<=\n))(?:"
    r"(?:Please )?[Ll]et me know|(?:Please )?[Ff]eel free to (?:ask|reach|contact|let|modify|adjust|request)|"
    r"(?:I )?[Hh]ope (?:this|that|it) (?:\w+ )?(?:helps|answers|meets|is helpful|clarifies)|"
    r"Would you like (?:me to|more|another)|Is there anything else|These (?:key ?words|search terms)\b|"
    r"If you[^.!?\n]{1,120}? (?:let me know|feel free|just ask|I can|I['’]d be|I would be|I['’]ll|I['’]m)\b))"
    r"[^.!?\n]{0,300}+[.!?]*+[\"”’)*]*+\Z"
)
_OFFER_CHARS = 400
_OFFER_HINTS = ("et me know", "eel free to", "ope th", "ope it", "Would you", "Is there", "These ", "If you")

_CANNOT = (
    r"I(?:['’]m| am)? ?(?:sorry[,.]? ?(?:but )?)?(?:can['’]?t|cannot|can not|am unable to|unable to|am not able to|"
    r"not able to|won['’]t|do not|don['’]t)\b"
)
_REFUSAL = re.compile(  # the whole text: the refusal, and sentences about the two who talk
    r"(?:(?:I['’]m|I am) (?:so |very |really )?sorry|Sorry|I apologi[sz]e|My apologies|Unfortunately|"
    rf"As an? (?:AI|artificial|large language|language model)|(?={_CANNOT}))"
    rf"[^.!?]{{0,100}}?[.!?,]? ?{_CANNOT} (?:\w+ ){{0,4}}?"
    r"(?:assist|help(?= with| you|[.!?,]|$)|provide|fulfil|fulfill|comply|answer|write|generate|create|complete|"
    r"do that|access|information|produce|continue|discuss|engage|offer|support|opinions?|feelings)\b[^.!?]*+[.!?]*+"
    r"(?: (?:Please|If you|Could you|Can you|Can I|However, I|Instead, I|I|I['’]m|I['’]d|Let me|Would you|What)\b"
    r"[^.!?]*+[.!?]*+)*+",
    re.IGNORECASE,
)
_REFUSAL_WORDS = 60


def lead_in_end(text: str, start: int, end: int) -> int:
    """The end of the lead-in at `start`; `start` where there is none."""
    for lead_in in _LEAD_INS:
        if match := lead_in.match(text, start, end):
            return match.end()
    return start


def offer_start(text: str, start: int, end: int) -> int:
    """The start of a last sentence that offers help ("Let me know if ..."); `end` where there is none."""
    earliest = max(start, end - _OFFER_CHARS)
    if not any(text.find(hint, earliest, end) >= 0 for hint in _OFFER_HINTS):  # ten times faster than the pattern
        return end
    match = _OFFER.search(text, earliest, end)
    return match.start() if match else end


def is_refusal(text: str) -> bool:
    """Reports nothing but a short refusal ("I'm sorry, but I can't help with that.")."""
    return len(text.split(maxsplit=_REFUSAL_WORDS)) <= _REFUSAL_WORDS and bool(_REFUSAL.fullmatch(text))
